"""Channels of one purpose each, on a link: one that reads a queue, one that publishes.

A channel that fails tells so once, through ``on_end``; the server closes a channel for an error in
any one request, so nothing else shares it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiormq
from pamqp import commands as spec

from streamproof.drivers.rabbitmq.codec import Message, properties_bytes, read_message
from streamproof.drivers.rabbitmq.errors import lost
from streamproof.drivers.rabbitmq.wire import ack_method, content_frames, publish_method
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink, native_error
from streamproof.errors import BackendError, StreamproofError

_GONE = BackendError("the queue was deleted, or its server is going down")

OnEnd = Callable[[StreamproofError | None], None]
Deliver = Callable[[int, bool, Message], None]
"""Called with delivery tag, whether it was redelivered, the message."""


@contextmanager
def told_as(doing: str) -> Iterator[None]:
    """What aiormq raises, in this package's errors. When its connection ends it also cancels what
    waits for it: to the waiting task that is no cancellation of its own."""
    try:
        yield
    except (aiormq.exceptions.AMQPError, RuntimeError, OSError) as cause:
        raise native_error(cause, doing) from cause
    except asyncio.CancelledError as cause:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise lost(doing, "the connection was closed") from cause


class AioChannel:
    """A channel, and whether it still is. Ended by the end of its connection, it ends with
    :class:`Unreachable`."""

    def __init__(self, link: AioLink, doing: str, on_end: OnEnd) -> None:
        self.link = link
        self.doing = doing
        self.number = 0
        self._channel: Any = None
        self._on_end: OnEnd | None = on_end
        self._is_closing = False

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._channel is not None and not self._channel.is_closed and not self._is_closing

    async def open(self) -> None:
        """Open it. Raises what the server or the connection says."""
        connection = self.link.connection
        if connection is None:
            raise lost(self.doing, "not connected")
        with told_as(self.doing):
            self._channel = await connection.channel(publisher_confirms=False)
            self.number = self._channel.number
            self._channel.closing.add_done_callback(self._closed)
            await self._ready()

    async def request(self, frame: Any) -> Any:
        """One request and its answer. Raises what the server or the connection says."""
        with told_as(self.doing):
            return await self._channel.rpc(frame)

    async def close(self) -> None:
        """Close it: what was delivered and not acknowledged goes back, in its place and order.

        The consumer is not cancelled first: the server answers a close before the queue has taken
        those messages back, and until it has, the consumer must stay the single active one. A
        cancelled one makes way at once, for a successor that would then get later messages first.
        """
        self._is_closing = True
        self._deafen()
        if self._channel is not None and not self._channel.is_closed:
            with suppress(Exception):
                await self._channel.close()

    async def _ready(self) -> None:
        """The channel is open."""

    def _closed(self, closing: Any) -> None:
        self._deafen()
        # From here on the number may be another channel's.
        self.number = 0
        reason = None if closing.cancelled() else closing.exception()
        self._end(None if self._is_closing else native_error(reason, self.doing))

    def _deafen(self) -> None:
        """Take in nothing more."""
        self.link.scanner.deliveries.pop(self.number, None)
        self.link.scanner.confirms.pop(self.number, None)

    def _end(self, error: StreamproofError | None) -> None:
        told, self._on_end = self._on_end, None
        if told is not None:
            told(error)


class AioReadingChannel(AioChannel):
    """Consumes one queue, from one or several places if it is a stream."""

    def __init__(
        self,
        link: AioLink,
        queue: str,
        prefetch: int,
        deliver: Deliver,
        on_end: OnEnd,
        *,
        places: tuple[Any, ...] = (),
        is_exclusive: bool = False,
    ) -> None:
        super().__init__(link, f"reading {queue}", on_end)
        self._queue = queue
        self._prefetch = min(prefetch, 65_535)
        self._deliver = deliver
        self._places = places
        self._is_exclusive = is_exclusive

    def acknowledge(self, acks: Iterable[tuple[int, bool]]) -> None:
        """Acknowledge delivery tags; with ``True`` all lower ones, too."""
        if self.is_open:
            for tag, is_multiple in acks:
                self.link.emit(ack_method(self.number, tag, is_multiple))

    async def ask(self) -> None:
        """Wait until the server has answered what was sent before: its deliveries are in."""
        await self.request(spec.Basic.Qos(prefetch_count=self._prefetch))

    async def stop(self) -> None:
        """Close once the acknowledgements sent before are taken in."""
        self._on_end = None
        self._deafen()
        if self.is_open and not self._places:
            with suppress(StreamproofError):
                await self._settle()
        await self.close()

    async def _settle(self) -> None:
        """A quorum queue's channel keeps back acknowledgements while many are on their way, and forgets
        them when it is closed. Requests to the queue itself stand in line behind those on their
        way; after the answer to the first, what was kept back is sent, and the second waits for it.
        The second consumer does no harm: it waits behind the first, the single active one."""
        with told_as(self.doing):
            answer = await self._channel.basic_consume(self._queue, _ignore)
        await self.request(spec.Basic.Cancel(consumer_tag=answer.consumer_tag))

    async def _ready(self) -> None:
        channel = self._channel
        on_cancel = channel._on_cancel_frame

        async def cancelled(frame: Any) -> None:
            await on_cancel(frame)
            if isinstance(frame, spec.Basic.Cancel):
                self._cancelled()

        channel._on_cancel_frame = cancelled
        self.link.scanner.deliveries[self.number] = self._take
        await channel.basic_qos(prefetch_count=self._prefetch)
        for place in self._places or (None,):
            await channel.basic_consume(
                self._queue,
                _ignore,
                exclusive=self._is_exclusive,
                arguments=None if place is None else {"x-stream-offset": place},
            )

    def _take(self, tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
        self._deliver(tag, is_redelivered, read_message(properties, body))

    def _cancelled(self) -> None:
        told, self._on_end = self._on_end, None
        self.link.spawn(self.close())
        if told is not None:
            told(_GONE)


class AioWritingChannel(AioChannel):
    """Publishes with confirms."""

    def __init__(
        self,
        link: AioLink,
        doing: str,
        on_confirm: Callable[[int, bool, bool], None],
        on_return: Callable[[str], None],
        on_end: OnEnd,
    ) -> None:
        super().__init__(link, doing, on_end)
        self.next_tag = 1
        self._on_confirm = on_confirm
        self._on_return = on_return

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        timestamp_ms: int = 0,
        mark: bytes | None = None,
        message_id: str = "",
    ) -> int:
        """Publish one message, mandatory; its delivery tag."""
        properties = properties_bytes(None, False, (), timestamp_ms, message_id.encode(), mark)
        method = publish_method(self.number, exchange, routing_key)
        self.emit(content_frames(method, self.number, properties, body, self.link.frame_max), 1)
        return self.next_tag - 1

    def emit(self, frames: bytes, messages: int) -> None:
        """Write the frames of so many messages."""
        self.link.emit(frames)
        self.next_tag += messages

    async def _ready(self) -> None:
        channel = self._channel
        self.link.scanner.confirms[self.number] = self._on_confirm
        # Asked for by aiormq with the message id of a message that came back.
        channel.message_id_delivery_tag = _Returns(self._on_return)
        await channel.rpc(spec.Confirm.Select())


def _ignore(_: Any) -> None:
    """Deliveries are taken by the scanner before aiormq sees them."""


class _Returns(dict[str, int]):
    """Stands where aiormq keeps its own books of message ids."""

    def __init__(self, on_return: Callable[[str], None]) -> None:
        super().__init__()
        self._on_return = on_return

    def get(self, message_id: str, default: Any = None) -> Any:
        """Told of a returned message; the answer is a tag that aiormq has no future for."""
        self._on_return(message_id)
        return -1
