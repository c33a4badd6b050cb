"""The async producer: pipelined confirms over one channel, on its own connection."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.codec import properties_bytes, sequence_of
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED, returned, unknown_delivery, unknown_topic
from streamproof.drivers.rabbitmq.publishing import Limits, choose_partition, limits_of, too_large
from streamproof.drivers.rabbitmq.topology import Endpoint, exchange_of
from streamproof.drivers.rabbitmq.wire import content_frames, publish_method
from streamproof.drivers.rabbitmq_aio_pika.channels import AioWritingChannel
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink
from streamproof.errors import BufferFull, Closed, StreamproofError, TimedOut
from streamproof.options import ProducerOptions
from streamproof.records import Headers, RawOutgoing, Receipt

_WINDOW_RECORDS = 10_000
_WINDOW_BYTES = 32_000_000
"""What may be unconfirmed; beyond it records wait here, where a failure of theirs is definite."""

_BATCH_RECORDS = 500
_BATCH_BYTES = 4_000_000
_LOOK_S = 0.5


class AioPublish(AsyncDelivery):
    """One record on its way, and its outcome."""

    __slots__ = ("due_s", "headers", "key", "number", "partition", "size", "timestamp_ms", "topic", "value")

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
        super().__init__()
        self.topic = topic
        self.partition = partition
        self.value = value
        self.key = key
        self.headers = headers
        self.timestamp_ms = timestamp_ms
        self.due_s = due_s
        self.number = 0
        self.size = len(value) if value is not None else 0


class AioPikaProducer:
    """See :class:`~streamproof.driver.AsyncProducerDriver`."""

    def __init__(self, endpoint: Endpoint, definitions: AioDefinitions, options: ProducerOptions) -> None:
        self._endpoint = endpoint
        self._definitions = definitions
        self._options = options
        self._queue: deque[AioPublish] = deque()
        self._unconfirmed: dict[int, AioPublish] = {}
        self._unconfirmed_bytes = 0
        self._outstanding = 0
        self._taken = 0
        self._turn = count()
        self._settled = asyncio.Event()
        self._writer: AioWritingChannel | None = None
        self._origin = ""
        self._methods: dict[tuple[str, int], bytes] = {}
        self._came_back: set[int] = set()
        self._limits: Limits | None = None
        self._is_planned = False
        self._is_closed = False
        self._is_proven = False
        """Whether this channel had a confirm."""
        self._reopening = Backoff(free=1, longest_s=1.0)
        """Of the channel, on a connection that is well."""
        self._unwatch: Callable[[], None] = _nothing
        self._looker: asyncio.TimerHandle | None = None
        self.link = AioLink(endpoint, "producer", endpoint.heartbeat_s, self._up, self._down)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def open(self, timeout_s: float) -> None:
        """Connect. Raises :class:`Unreachable`, :class:`AccessDenied`."""
        await self.link.open(timeout_s)
        self._unwatch = self._definitions.catalogue.watch(self._methods.clear)
        self._look()

    # -- the seam --------------------------------------------------------------------------

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> AsyncDelivery:
        now_s = time.monotonic()
        try:
            found = self._definitions.catalogue.topic(topic) or await self._look_up(topic, timeout_s)
        except StreamproofError as error:
            return _settled(error)
        publish = self._publish(found, value, key, headers, partition, timestamp_ms, now_s)
        if not publish.is_settled:
            if self._outstanding >= self._options.buffer_records:
                await self._wait_for_room(now_s + timeout_s, timeout_s)
            self._take(publish)
        return publish

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        now_s = time.monotonic()
        try:
            found = self._definitions.catalogue.topic(topic) or await self._look_up(topic, timeout_s)
        except StreamproofError as error:
            return AsyncDeliveries([_settled(error) for _ in records])
        publishes: list[AsyncDelivery] = []
        full: BufferFull | None = None
        for record in records:
            publish = self._publish(
                found, record.value, record.key, record.headers, record.partition, record.timestamp_ms, now_s
            )
            publishes.append(publish)
            if publish.is_settled:
                continue
            if full is None and self._outstanding >= self._options.buffer_records:
                try:
                    await self._wait_for_room(now_s + timeout_s, timeout_s)
                except BufferFull as error:
                    full = error
            if full is not None:
                publish.settle(full)
            else:
                self._take(publish)
        return AsyncDeliveries(publishes)

    async def flush(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        wanted = self._taken
        while self._oldest() <= wanted:
            left = deadline_s - time.monotonic()
            if left <= 0:
                raise TimedOut(f"{self._outstanding} records were not settled within {timeout_s:g} s")
            await self._next_settled(left)

    async def close(self, timeout_s: float) -> None:
        if self._is_closed:
            return
        deadline_s = time.monotonic() + timeout_s
        self._unwatch()
        try:
            await self.flush(timeout_s * 0.8)
        except TimedOut:
            pass
        finally:
            self._is_closed = True
            if self._looker is not None:
                self._looker.cancel()
            try:
                await self.link.close(max(0.2, deadline_s - time.monotonic()))
            finally:
                self._give_up_unconfirmed("the producer was closed before RabbitMQ confirmed")
                while self._queue:
                    self._settle_unsent(Closed("the producer was closed before this record was sent"))
                self._settled.set()

    # -- taking records --------------------------------------------------------------------

    async def _look_up(self, topic: str, timeout_s: float) -> TopicCreated:
        await self._definitions.wait_synced(timeout_s)
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            raise unknown_topic(topic)
        return found

    def _publish(
        self,
        topic: TopicCreated,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        now_s: float,
    ) -> AioPublish:
        chosen = choose_partition(topic, key, partition, self._turn)
        if timestamp_ms is None:
            timestamp_ms = int(time.time() * 1000)
        due_s = now_s + self._options.delivery_timeout_s
        publish = AioPublish(topic, max(0, chosen), value, key, headers, timestamp_ms, due_s)
        refused: StreamproofError | None = None
        if self._is_closed:
            refused = Closed("the producer is closed")
        elif chosen < 0:
            refused = unknown_topic(topic.name, partition, topic.partitions)
        elif self._limits is not None:
            refused = too_large(self._limits, publish.size, key, headers)
        if refused is not None:
            publish.settle(refused)
        return publish

    def _take(self, publish: AioPublish) -> None:
        self._taken += 1
        publish.number = self._taken
        self._outstanding += 1
        self._queue.append(publish)
        self._plan()

    async def _wait_for_room(self, deadline_s: float, timeout_s: float) -> None:
        limit = self._options.buffer_records
        while self._outstanding >= limit:
            left = deadline_s - time.monotonic()
            if left <= 0:
                raise BufferFull(
                    f"the send buffer held {limit} records for {timeout_s:g} s: RabbitMQ takes no more now"
                )
            await self._next_settled(left)

    async def _next_settled(self, left: float) -> None:
        self._settled.clear()
        waiter = asyncio.ensure_future(self._settled.wait())
        try:
            await asyncio.wait({waiter}, timeout=left)
        finally:
            waiter.cancel()

    def _oldest(self) -> int:
        for publish in self._unconfirmed.values():
            return publish.number
        return self._queue[0].number if self._queue else self._taken + 1

    # -- sending ---------------------------------------------------------------------------

    def _up(self) -> None:
        assert self.link.connection is not None
        self._limits = limits_of(self._endpoint, self.link.version, self.link.connection.frame_max)
        self.link.spawn(self._open_channel())

    async def _open_channel(self, pause_s: float = 0.0) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        # A new origin: what an old channel still has on its way must not mix with this one's order.
        self._origin = secrets.token_hex(6)
        self._methods.clear()
        self._came_back = set()
        self._is_proven = False
        writer = AioWritingChannel(
            self.link, "publishing", self._confirmed, self._returned, self._channel_ended
        )
        try:
            await writer.open()
        except StreamproofError as error:
            self.link.drop(error)
            return
        self._writer = writer
        if not self._queue:
            self.link.prove()
        self._plan()

    def _plan(self) -> None:
        """Write soon, together with what else is sent until then."""
        if not self._is_planned and self._writer is not None:
            self._is_planned = True
            self.link.soon(self._drain)

    def _has_room(self) -> bool:
        return len(self._unconfirmed) < _WINDOW_RECORDS and self._unconfirmed_bytes < _WINDOW_BYTES

    def _drain(self) -> None:
        """Write what is queued, as far as the window allows; more follows when confirms come."""
        self._is_planned = False
        writer = self._writer
        if writer is None or not writer.is_open:
            return
        pieces: list[bytes] = []
        size = 0
        tag = writer.next_tag
        while self._queue and len(pieces) < _BATCH_RECORDS and size < _BATCH_BYTES and self._has_room():
            publish = self._queue.popleft()
            frames = self._frames(writer, publish, tag)
            if frames is None:
                self._outstanding -= 1
                publish.settle(unknown_topic(publish.topic.name))
                self._settled.set()
                continue
            pieces.append(frames)
            size += len(frames)
            self._unconfirmed_bytes += publish.size
            self._unconfirmed[tag] = publish
            tag += 1
        if pieces:
            writer.emit(b"".join(pieces), len(pieces))
        if self._queue and self._has_room():
            self._plan()

    def _frames(self, writer: AioWritingChannel, publish: AioPublish, tag: int) -> bytes | None:
        """``None`` if the record's topic was deleted while it waited here."""
        place = (publish.topic.id, publish.partition)
        method = self._methods.get(place)
        if method is None:
            if self._definitions.catalogue.name_of(publish.topic.id) is None:
                return None
            exchange = exchange_of(publish.topic.name, publish.topic.id)
            method = publish_method(writer.number, exchange, str(publish.partition))
            self._methods[place] = method
        value, key = publish.value, publish.key
        publish.value = publish.key = None
        assert writer.tap is not None
        frame_max = writer.tap.frame_max
        message_id = f"{self._origin}-{tag:x}".encode()
        properties = properties_bytes(key, value is None, publish.headers, publish.timestamp_ms, message_id)
        return content_frames(method, writer.number, properties, value or b"", frame_max)

    # -- outcomes --------------------------------------------------------------------------

    def _confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        if not self._is_proven:
            self._is_proven = True
            self.link.prove()
            self._reopening.prove(time.monotonic())
        done = [tag]
        if is_multiple:
            done = []
            for lower in self._unconfirmed:
                if tag and lower > tag:
                    break
                done.append(lower)
        for lower in done:
            publish = self._unconfirmed.pop(lower, None)
            if publish is not None:
                self._settle(lower, publish, is_ack)
        self._settled.set()
        if self._queue and self._has_room():
            self._plan()

    def _settle(self, tag: int, publish: AioPublish, is_ack: bool) -> None:
        self._outstanding -= 1
        self._unconfirmed_bytes -= publish.size
        if tag in self._came_back:
            self._came_back.discard(tag)
            publish.settle(returned(publish.topic.name, publish.partition, publish.topic.has_log))
        elif is_ack:
            publish.settle(Receipt(publish.topic.name, publish.partition, None, publish.timestamp_ms))
        else:
            publish.settle(unknown_delivery("RabbitMQ answered with basic.nack: a queue failed"))

    def _settle_unsent(self, error: StreamproofError) -> None:
        self._outstanding -= 1
        self._queue.popleft().settle(error)

    def _returned(self, message_id: str) -> None:
        known = sequence_of(message_id)
        if known is not None and known[0] == self._origin:
            self._came_back.add(known[1])

    def _channel_ended(self, error: StreamproofError | None) -> None:
        """The server closed the channel over one message; the connection may be well."""
        self._writer = None
        self._give_up_unconfirmed(str(error or "the channel was closed"))
        if not isinstance(error, CONNECTION_ENDED):
            self.link.spawn(self._open_channel(self._reopening.fail(time.monotonic())))

    def _down(self, error: StreamproofError) -> None:
        self._writer = None
        self._give_up_unconfirmed(str(error))

    def _give_up_unconfirmed(self, why: str) -> None:
        gone, self._unconfirmed = self._unconfirmed, {}
        self._unconfirmed_bytes = 0
        self._outstanding -= len(gone)
        for publish in gone.values():
            publish.settle(unknown_delivery(why))
        self._settled.set()

    def _look(self) -> None:
        """Settle what is past its time; now and then."""
        pause_s = min(_LOOK_S, self._options.delivery_timeout_s / 4)
        self._looker = self.link.later(pause_s, self._look)
        now_s = time.monotonic()
        limit = f"{self._options.delivery_timeout_s:g} s"
        overdue = []
        for tag, publish in self._unconfirmed.items():
            if publish.due_s > now_s:
                break
            overdue.append(tag)
        for tag in overdue:
            publish = self._unconfirmed.pop(tag)
            self._outstanding -= 1
            self._unconfirmed_bytes -= publish.size
            publish.settle(unknown_delivery(f"no confirm within {limit}"))
        while self._queue and self._queue[0].due_s <= now_s:
            self._settle_unsent(TimedOut(f"not sent within {limit}: RabbitMQ took no more"))
        self._settled.set()


def _settled(error: StreamproofError) -> AsyncDelivery:
    delivery = AsyncDelivery()
    delivery.settle(error)
    return delivery


def _nothing() -> None:
    """There is no watch to end yet."""
