"""The I/O thread's part of a producer: writes what waits, takes confirms, settles."""

import secrets
import time
from collections import deque
from collections.abc import Sequence

from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import Catalogue
from streamproof.drivers.rabbitmq.codec import properties_bytes, sequence_of
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED, returned, unknown_delivery, unknown_topic
from streamproof.drivers.rabbitmq.publishing import Limits, limits_of
from streamproof.drivers.rabbitmq.topology import Endpoint, exchange_of
from streamproof.drivers.rabbitmq.wire import content_frames, publish_method
from streamproof.drivers.rabbitmq_pika.buffer import Publish, SendBuffer
from streamproof.drivers.rabbitmq_pika.channels import WritingChannel
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.drivers.rabbitmq_pika.link import Link
from streamproof.errors import StreamproofError, TimedOut
from streamproof.options import ProducerOptions
from streamproof.records import Receipt

_WINDOW_RECORDS = 20_000
_WINDOW_BYTES = 64_000_000
"""What may be unconfirmed; beyond it records wait here, where a failure of theirs is definite."""

_BATCH_RECORDS = 500
_BATCH_BYTES = 4_000_000
_LOOK_S = 0.5
_LONGEST_LINGER_S = 0.002
"""What suffices at some thousand records a second; with more the batches grow by themselves."""


class Sending:
    """See the module's docstring. All methods run on the I/O thread, but for ``end``."""

    def __init__(self, endpoint: Endpoint, catalogue: Catalogue, options: ProducerOptions) -> None:
        self.link = Link(endpoint, "producer", endpoint.heartbeat_s, self._up, self._down)
        self.buffer = SendBuffer(options.buffer_records, self.link)
        self.limits: Limits | None = None
        self._endpoint = endpoint
        self._catalogue = catalogue
        self._timeout_s = options.delivery_timeout_s
        self._linger_s = min(options.linger_ms / 1000, _LONGEST_LINGER_S)
        self._unconfirmed: dict[int, Publish] = {}
        self._unconfirmed_bytes = 0
        self._writer: WritingChannel | None = None
        self._origin = b""
        self._methods: dict[tuple[str, int], bytes] = {}
        self._came_back: set[int] = set()
        self._is_ready = False
        self._is_blocked = False
        self._is_planned = False
        self._is_proven = False
        """Whether this channel had a confirm."""
        self._reopening = Backoff(free=1, longest_s=1.0)
        """Of the channel, on a connection that is well."""

    def forget_places(self) -> None:
        """The definitions changed: look again whether topics are still there."""
        self._methods.clear()

    def tell_floor(self) -> None:
        """Somebody waits until all is settled."""
        if self._is_planned:
            self.drain()
        buffer = self.buffer
        with buffer.changed:
            buffer.floor = self._oldest() - 1
            buffer.changed.notify_all()

    def look(self) -> None:
        """Settle what is past its time; now and then."""
        self.link.later(min(_LOOK_S, self._timeout_s / 4), self.look)
        now_s = time.monotonic()
        overdue: list[int] = []
        for tag, publish in self._unconfirmed.items():
            if publish.due_s > now_s:
                break
            overdue.append(tag)
        for tag in overdue:
            publish = self._unconfirmed.pop(tag)
            self._unconfirmed_bytes -= publish.size
            publish.settle(unknown_delivery(f"no confirm within {self._timeout_s:g} s"))
        waiting, unsent = self.buffer.waiting, 0
        while waiting and waiting[0].due_s <= now_s:
            waiting.popleft().settle(
                TimedOut(f"not sent within {self._timeout_s:g} s: RabbitMQ took no more")
            )
            unsent += 1
        if overdue or unsent:
            self._freed(len(overdue) + unsent)

    def end(self, unconfirmed: str, unsent: StreamproofError) -> None:
        """Settle everything that is left; the I/O thread is gone."""
        self._give_up_unconfirmed(unconfirmed)
        with self.buffer.changed:
            left, self.buffer.waiting = self.buffer.waiting, deque()
        for publish in left:
            publish.settle(unsent)

    # -- the channel -----------------------------------------------------------------------

    def _up(self, connection: Connection) -> None:
        self.limits = limits_of(self._endpoint, self.link.version, connection.params.frame_max)
        self._is_blocked = False
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open_channel(connection)

    def _open_channel(self, connection: Connection) -> None:
        # A new origin: what an old channel still has on its way must not mix with this one's order.
        self._origin = secrets.token_hex(6).encode()
        self._methods = {}
        self._came_back = set()
        self._is_proven = False
        self._writer = WritingChannel(
            connection, "publishing", self._confirmed, self._returned, self._channel_ended, self._ready
        )

    def _ready(self) -> None:
        self._is_ready = True
        if not self.buffer.waiting:
            self.link.prove()
        self.drain()

    def _set_blocked(self, is_blocked: bool) -> None:
        """The server is short of memory or disk, and reads nothing: what waits here stays definite."""
        self._is_blocked = is_blocked
        if not is_blocked:
            self.drain()

    def _channel_ended(self, error: StreamproofError | None) -> None:
        """The server closed the channel over one message; the connection may be well."""
        self._is_ready = False
        self._writer = None
        self._give_up_unconfirmed(str(error or "the channel was closed"))
        if not isinstance(error, CONNECTION_ENDED):
            self.link.later(self._reopening.fail(time.monotonic()), self._reopen)

    def _reopen(self) -> None:
        connection = self.link.connection
        if connection is not None and self._writer is None:
            self._open_channel(connection)

    def _down(self, error: StreamproofError) -> None:
        self._is_ready = False
        self._writer = None
        self._give_up_unconfirmed(str(error))

    # -- writing ---------------------------------------------------------------------------

    def wake(self) -> None:
        """Records were sent while the writing slept. If none is on its way they are written at once,
        else they wait a moment for others (RFC 896): one by one, each would cost the server a look at
        the socket, and a step of the queue's consensus."""
        buffer = self.buffer
        is_alone = len(buffer.waiting) < _BATCH_RECORDS and not buffer.waiters
        if self._unconfirmed and self._linger_s and is_alone:
            self._plan(self._linger_s)
        else:
            self.drain()

    def drain(self) -> None:
        """Write what waits, as far as the window allows; more follows when confirms come."""
        self._is_planned = False
        writer = self._writer
        if writer is None or not self._is_ready or self._is_blocked or not writer.is_open:
            self._rest()
            return
        pieces: list[bytes] = []
        gone: list[Publish] = []
        waiting, unconfirmed = self.buffer.waiting, self._unconfirmed
        tag, size = writer.next_tag, 0
        room = min(_BATCH_RECORDS, _WINDOW_RECORDS - len(unconfirmed))
        while room > 0 and waiting and size < _BATCH_BYTES and self._unconfirmed_bytes < _WINDOW_BYTES:
            publish = waiting.popleft()
            frames = self._frames(writer, publish, tag)
            if frames is None:
                gone.append(publish)
                continue
            pieces.append(frames)
            size += len(frames)
            self._unconfirmed_bytes += publish.size
            unconfirmed[tag] = publish
            tag += 1
            room -= 1
        if pieces:
            writer.emit(b"".join(pieces), len(pieces))
        for publish in gone:
            publish.settle(unknown_topic(publish.topic.name))
        if gone:
            self._freed(len(gone))
        if waiting and self._has_room():
            self._plan()
        else:
            self._rest()

    def _frames(self, writer: WritingChannel, publish: Publish, tag: int) -> bytes | None:
        """The frames of one record; ``None`` if its topic was deleted while it waited."""
        place = (publish.topic.id, publish.partition)
        method = self._methods.get(place)
        if method is None:
            if self._catalogue.name_of(publish.topic.id) is None:
                return None
            exchange = exchange_of(publish.topic.name, publish.topic.id)
            method = publish_method(writer.number, exchange, str(publish.partition))
            self._methods[place] = method
        key, value = publish.key, publish.value
        publish.key = publish.value = None
        properties = properties_bytes(
            key, value is None, publish.headers, publish.timestamp_ms, b"%s-%x" % (self._origin, tag)
        )
        frame_max = writer.connection.params.frame_max
        return content_frames(method, writer.number, properties, value or b"", frame_max)

    def _has_room(self) -> bool:
        return len(self._unconfirmed) < _WINDOW_RECORDS and self._unconfirmed_bytes < _WINDOW_BYTES

    def _plan(self, delay_s: float = 0.0) -> None:
        """Go on writing after what the socket has for us now, or later."""
        if not self._is_planned:
            self._is_planned = True
            self.link.later(delay_s, self.drain)

    def _rest(self) -> None:
        """With nothing waiting, sleep until a send wakes the writing; else confirms, an open channel
        or the end of a block do."""
        with self.buffer.changed:
            self.buffer.is_awake = bool(self.buffer.waiting)

    # -- outcomes --------------------------------------------------------------------------

    def _confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        if not self._is_proven:
            self._is_proven = True
            self.link.prove()
            self._reopening.prove(time.monotonic())
        unconfirmed = self._unconfirmed
        tags: Sequence[int] = (tag,)
        if is_multiple:
            tags = []
            for lower in unconfirmed:
                if lower > tag and tag:
                    break
                tags.append(lower)
        settled = 0
        for one in tags:
            publish = unconfirmed.pop(one, None)
            if publish is not None:
                self._settle(one, publish, is_ack)
                settled += 1
        if settled:
            self._freed(settled)

    def _settle(self, tag: int, publish: Publish, is_ack: bool) -> None:
        self._unconfirmed_bytes -= publish.size
        topic = publish.topic
        if tag in self._came_back:
            self._came_back.discard(tag)
            publish.settle(returned(topic.name, publish.partition, topic.has_log))
        elif is_ack:
            publish.settle(Receipt(topic.name, publish.partition, None, publish.timestamp_ms))
        else:
            publish.settle(unknown_delivery("RabbitMQ answered with basic.nack: a queue failed"))

    def _freed(self, records: int) -> None:
        buffer = self.buffer
        with buffer.changed:
            buffer.outstanding -= records
            if buffer.waiters:
                buffer.floor = self._oldest() - 1
                buffer.changed.notify_all()
        if buffer.waiting and self._is_ready and self._has_room():
            self._plan()

    def _oldest(self) -> int:
        """The number of the first record that is not settled; with the lock held."""
        for publish in self._unconfirmed.values():
            return publish.number
        return self.buffer.waiting[0].number if self.buffer.waiting else self.buffer.taken + 1

    def _returned(self, message_id: str) -> None:
        known = sequence_of(message_id)
        if known is not None and known[0] == self._origin.decode():
            self._came_back.add(known[1])

    def _give_up_unconfirmed(self, why: str) -> None:
        gone, self._unconfirmed = self._unconfirmed, {}
        self._unconfirmed_bytes = 0
        for publish in gone.values():
            publish.settle(unknown_delivery(why))
        if gone:
            self._freed(len(gone))
