"""The blocking producer: pipelined confirms over one channel, on its own connection and I/O thread."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from streamproof.core.partitioner import partition_for
from streamproof.deliveries import Deliveries, Delivery
from streamproof.drivers.rabbitmq_catalogue import TopicCreated
from streamproof.drivers.rabbitmq_codec import properties_bytes, sequence_of
from streamproof.drivers.rabbitmq_errors import returned, unknown_delivery, unknown_topic
from streamproof.drivers.rabbitmq_pika_channels import WritingChannel
from streamproof.drivers.rabbitmq_pika_definitions import Definitions
from streamproof.drivers.rabbitmq_pika_link import Connection, Link, left_s
from streamproof.drivers.rabbitmq_publishing import Limits, choose_partition, limits_of, too_large
from streamproof.drivers.rabbitmq_topology import Endpoint, exchange_of
from streamproof.drivers.rabbitmq_wire import content_frames, publish_method
from streamproof.errors import BufferFull, Closed, StreamproofError, TimedOut, Unreachable
from streamproof.options import ProducerOptions
from streamproof.records import Headers, RawOutgoing, Receipt

_WINDOW_RECORDS = 20_000
_WINDOW_BYTES = 64_000_000
"""What may be unconfirmed; beyond it records wait here, where a failure of theirs is definite."""

_BATCH_RECORDS = 500
_BATCH_BYTES = 4_000_000
_LOOK_S = 0.5


class Publish(Delivery):
    """One record on its way, and its outcome."""

    __slots__ = ("due_s", "headers", "key", "number", "partition", "size", "timestamp_ms", "topic", "value")

    topic: TopicCreated
    value: bytes | None
    key: bytes | None

    def __init__(
        self,
        topic: TopicCreated,
        partition: int,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        timestamp_ms: int,
        due_s: float,
    ) -> None:
        self._answer = None
        self._callbacks = None
        self.topic = topic
        self.partition = partition
        self.value = value
        self.key = key
        self.headers = headers
        self.timestamp_ms = timestamp_ms
        self.due_s = due_s
        self.number = 0
        self.size = len(value) if value is not None else 0


class PikaProducer:
    """See :class:`~streamproof.driver.ProducerDriver`."""

    def __init__(self, endpoint: Endpoint, definitions: Definitions, options: ProducerOptions) -> None:
        self._definitions = definitions
        self._options = options
        self._changed = threading.Condition()
        self._queue: deque[Publish] = deque()
        self._outstanding = 0
        self._taken = 0
        self._floor = 0
        self._waiters = 0
        self._is_awake = False
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing
        self._turn = count()
        # From here on, on the I/O thread only.
        self._unconfirmed: dict[int, Publish] = {}
        self._unconfirmed_bytes = 0
        self._writer: WritingChannel | None = None
        self._origin = ""
        self._methods: dict[tuple[str, int], bytes] = {}
        self._is_ready = False
        self._is_blocked = False
        self._is_planned = False
        self._came_back: set[int] = set()
        self._limits: Limits | None = None
        self._endpoint = endpoint
        self.link = Link(endpoint, "producer", endpoint.heartbeat_s, self._up, self._down)

    def open(self, timeout_s: float) -> None:
        """Connect. Raises :class:`Unreachable`, :class:`AccessDenied`."""
        self.link.open(timeout_s)
        self._unwatch = self._definitions.catalogue.watch(self._forget_places)
        self._look()

    # -- the seam --------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> Delivery:
        now_s = time.monotonic()
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            try:
                found = self._look_up(topic, timeout_s)
            except StreamproofError as error:
                return _settled(error)
        if partition is None:
            partition = (
                partition_for(key, found.partitions)
                if key is not None
                else next(self._turn) % found.partitions
            )
        elif not 0 <= partition < found.partitions:
            return _settled(unknown_topic(topic, partition, found.partitions))
        if timestamp_ms is None:
            timestamp_ms = int(time.time() * 1000)
        publish = Publish(
            found, partition, value, key, headers, timestamp_ms, now_s + self._options.delivery_timeout_s
        )
        refused = self._refusal(publish)
        if refused is not None:
            publish.settle(refused)
            return publish
        with self._changed:
            if self._outstanding >= self._options.buffer_records and not self._wait_for_room(
                now_s + timeout_s
            ):
                raise _full(self._options.buffer_records, timeout_s)
            self._take(publish)
            is_asleep = not self._is_awake
            self._is_awake = True
        if is_asleep:
            self.link.call(self._drain)
        return publish

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries:
        now_s = time.monotonic()
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            try:
                found = self._look_up(topic, timeout_s)
            except StreamproofError as error:
                return Deliveries([_settled(error) for _ in records])
        publishes = self._publishes(found, records, now_s + self._options.delivery_timeout_s)
        pending = [publish for publish in publishes if not publish.is_settled]
        start = 0
        while start < len(pending):
            with self._changed:
                if self._outstanding >= self._options.buffer_records and not self._wait_for_room(
                    now_s + timeout_s
                ):
                    break
                room = self._options.buffer_records - self._outstanding
                for publish in pending[start : start + room]:
                    self._take(publish)
                start += room
                is_asleep = not self._is_awake
                self._is_awake = True
            if is_asleep:
                self.link.call(self._drain)
        for publish in pending[start:]:
            publish.settle(_full(self._options.buffer_records, timeout_s))
        return Deliveries(publishes)

    def flush(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            if self._is_closed:
                return
            wanted = self._taken
            self._waiters += 1
            self.link.call(self._tell_floor)
            try:
                done = self._changed.wait_for(
                    lambda: self._floor >= wanted or self._is_closed, left_s(deadline_s)
                )
            finally:
                self._waiters -= 1
        if not done:
            raise TimedOut(f"{self._outstanding} records were not settled within {timeout_s:g} s")

    def close(self, timeout_s: float) -> None:
        if self._is_closed:
            return
        deadline_s = time.monotonic() + timeout_s
        self._unwatch()
        try:
            self.flush(timeout_s * 0.8)
        except TimedOut:
            pass
        finally:
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
            self.link.close(max(0.2, left_s(deadline_s)))
            # The I/O thread is gone: its state is this thread's now.
            self._give_up_unconfirmed("the producer was closed before RabbitMQ confirmed")
            self._fail_queued(Closed("the producer was closed before this record was sent"))

    # -- taking records --------------------------------------------------------------------

    def _look_up(self, topic: str, timeout_s: float) -> TopicCreated:
        self._definitions.wait_synced(timeout_s)
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            raise unknown_topic(topic)
        return found

    def _publishes(self, topic: TopicCreated, records: Sequence[RawOutgoing], due_s: float) -> list[Publish]:
        now_ms = int(time.time() * 1000)
        publishes: list[Publish] = []
        for record in records:
            partition = choose_partition(topic, record.key, record.partition, self._turn)
            publish = Publish(
                topic,
                max(0, partition),
                record.value,
                record.key,
                record.headers,
                now_ms if record.timestamp_ms is None else record.timestamp_ms,
                due_s,
            )
            if partition < 0:
                publish.settle(unknown_topic(topic.name, record.partition, topic.partitions))
            else:
                refused = self._refusal(publish)
                if refused is not None:
                    publish.settle(refused)
            publishes.append(publish)
        return publishes

    def _refusal(self, publish: Publish) -> StreamproofError | None:
        if self._is_closed:
            return Closed("the producer is closed")
        limits = self._limits
        if limits is None:
            return None
        return too_large(limits, publish.size, publish.key, publish.headers)

    def _take(self, publish: Publish) -> None:
        self._taken += 1
        publish.number = self._taken
        self._outstanding += 1
        self._queue.append(publish)

    def _wait_for_room(self, deadline_s: float) -> bool:
        """With the lock held."""
        if self.link.is_own_thread:
            return False
        self._waiters += 1
        try:
            return self._changed.wait_for(
                lambda: self._outstanding < self._options.buffer_records or self._is_closed,
                left_s(deadline_s),
            )
        finally:
            self._waiters -= 1

    # -- on the I/O thread -----------------------------------------------------------------

    def _up(self, connection: Connection) -> None:
        self._limits = limits_of(self._endpoint, self.link.version, connection.params.frame_max)
        self._is_blocked = False
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open_channel(connection)

    def _open_channel(self, connection: Connection) -> None:
        # A new origin: what an old channel still has on its way must not mix with this one's order.
        self._origin = secrets.token_hex(6)
        self._methods = {}
        self._came_back = set()
        self._writer = WritingChannel(
            connection, "publishing", self._confirmed, self._returned, self._channel_ended, self._ready
        )

    def _ready(self) -> None:
        self._is_ready = True
        self._drain()

    def _set_blocked(self, is_blocked: bool) -> None:
        self._is_blocked = is_blocked
        if not is_blocked:
            self._drain()

    def _drain(self) -> None:
        """Write what is queued, as far as the window allows; more follows when confirms come."""
        self._is_planned = False
        writer = self._writer
        if writer is None or not self._is_ready or self._is_blocked or not writer.is_open:
            self._rest()
            return
        frame_max = writer.connection.params.frame_max
        queue, unconfirmed, origin = self._queue, self._unconfirmed, self._origin
        methods, number = self._methods, writer.number
        pieces: list[bytes] = []
        gone: list[Publish] = []
        size = 0
        first = tag = writer.next_tag
        room = min(_BATCH_RECORDS, _WINDOW_RECORDS - len(unconfirmed))
        while room > 0 and queue and size < _BATCH_BYTES and self._unconfirmed_bytes < _WINDOW_BYTES:
            publish = queue.popleft()
            place = (publish.topic.id, publish.partition)
            method = methods.get(place)
            if method is None:
                if self._definitions.catalogue.name_of(publish.topic.id) is None:
                    gone.append(publish)
                    continue
                method = methods[place] = self._method(publish)
            value = publish.value
            properties = properties_bytes(
                publish.key,
                value is None,
                publish.headers,
                publish.timestamp_ms,
                b"%s-%x" % (origin.encode(), tag),
            )
            frames = content_frames(method, number, properties, value or b"", frame_max)
            pieces.append(frames)
            size += len(frames)
            self._unconfirmed_bytes += publish.size
            publish.value = publish.key = None
            unconfirmed[tag] = publish
            tag += 1
            room -= 1
        if pieces:
            writer.emit(b"".join(pieces), tag - first)
        if gone:
            self._refuse(gone)
        if queue and self._has_room():
            self._plan()
        else:
            self._rest()

    def _refuse(self, gone: list[Publish]) -> None:
        """Their topic was deleted while they waited here."""
        for publish in gone:
            publish.settle(unknown_topic(publish.topic.name))
        self._freed(len(gone))

    def _has_room(self) -> bool:
        return len(self._unconfirmed) < _WINDOW_RECORDS and self._unconfirmed_bytes < _WINDOW_BYTES

    def _plan(self) -> None:
        """Go on writing after what the socket has for us now."""
        if not self._is_planned:
            self._is_planned = True
            self.link.later(0, self._drain)

    def _rest(self) -> None:
        """With an empty queue, sleep until a send wakes the writing; else confirms, an open channel
        or the end of a block do."""
        with self._changed:
            self._is_awake = bool(self._queue)

    def _forget_places(self) -> None:
        """The definitions changed: look again whether topics are still there."""
        self.link.call(lambda: self._methods.clear())

    def _method(self, publish: Publish) -> bytes:
        assert self._writer is not None
        exchange = exchange_of(publish.topic.name, publish.topic.id)
        return publish_method(self._writer.number, exchange, str(publish.partition))

    def _confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        unconfirmed = self._unconfirmed
        done: list[tuple[int, Publish]]
        if is_multiple:
            done = []
            for lower in unconfirmed:
                if lower > tag and tag:
                    break
                done.append((lower, unconfirmed[lower]))
            for lower, _ in done:
                del unconfirmed[lower]
        else:
            publish = unconfirmed.pop(tag, None)
            if publish is None:
                return
            done = [(tag, publish)]
        self._settle(done, is_ack)

    def _settle(self, done: list[tuple[int, Publish]], is_ack: bool) -> None:
        for tag, publish in done:
            self._unconfirmed_bytes -= publish.size
            if tag in self._came_back:
                self._came_back.discard(tag)
                publish.settle(returned(publish.topic.name, publish.partition, publish.topic.has_log))
            elif is_ack:
                publish.settle(Receipt(publish.topic.name, publish.partition, None, publish.timestamp_ms))
            else:
                publish.settle(unknown_delivery("RabbitMQ answered with basic.nack: a queue failed"))
        self._freed(len(done))

    def _freed(self, records: int) -> None:
        with self._changed:
            self._outstanding -= records
            if self._waiters:
                self._floor = self._oldest() - 1
                self._changed.notify_all()
        if self._queue and self._is_ready and self._has_room():
            self._plan()

    def _oldest(self) -> int:
        """The number of the first record that is not settled; with the lock held."""
        for publish in self._unconfirmed.values():
            return publish.number
        return self._queue[0].number if self._queue else self._taken + 1

    def _tell_floor(self) -> None:
        with self._changed:
            self._floor = self._oldest() - 1
            self._changed.notify_all()

    def _returned(self, message_id: str) -> None:
        known = sequence_of(message_id)
        if known is not None and known[0] == self._origin:
            self._came_back.add(known[1])

    def _channel_ended(self, error: StreamproofError | None) -> None:
        """The server closed the channel over one message; the connection may be well."""
        self._is_ready = False
        self._writer = None
        self._give_up_unconfirmed(str(error or "the channel was closed"))
        connection = self.link.connection
        if connection is not None and connection.is_open and not isinstance(error, Unreachable):
            self._open_channel(connection)

    def _down(self, error: StreamproofError) -> None:
        self._is_ready = False
        self._writer = None
        self._give_up_unconfirmed(str(error))

    def _give_up_unconfirmed(self, why: str) -> None:
        gone, self._unconfirmed = self._unconfirmed, {}
        self._unconfirmed_bytes = 0
        for publish in gone.values():
            publish.settle(unknown_delivery(why))
        if gone:
            self._freed(len(gone))

    def _fail_queued(self, error: StreamproofError) -> None:
        with self._changed:
            gone, self._queue = self._queue, deque()
        for publish in gone:
            publish.settle(error)

    def _look(self) -> None:
        """Settle what is past its time; now and then."""

        def look() -> None:
            now_s = time.monotonic()
            overdue: list[Any] = []
            for tag, publish in self._unconfirmed.items():
                if publish.due_s > now_s:
                    break
                overdue.append(tag)
            for tag in overdue:
                publish = self._unconfirmed.pop(tag)
                self._unconfirmed_bytes -= publish.size
                publish.settle(unknown_delivery(f"no confirm within {self._options.delivery_timeout_s:g} s"))
            unsent = 0
            while self._queue and self._queue[0].due_s <= now_s:
                with self._changed:
                    publish = self._queue.popleft()
                unsent += 1
                publish.settle(
                    TimedOut(f"not sent within {self._options.delivery_timeout_s:g} s: RabbitMQ took no more")
                )
            if overdue or unsent:
                self._freed(len(overdue) + unsent)
            self.link.later(min(_LOOK_S, self._options.delivery_timeout_s / 4), look)

        self.link.call(look)


def _settled(error: StreamproofError) -> Delivery:
    delivery = Delivery()
    delivery.settle(error)
    return delivery


def _full(limit: int, timeout_s: float) -> BufferFull:
    return BufferFull(f"the send buffer held {limit} records for {timeout_s:g} s: RabbitMQ takes no more now")


def _nothing() -> None:
    """There is no watch to end yet."""
