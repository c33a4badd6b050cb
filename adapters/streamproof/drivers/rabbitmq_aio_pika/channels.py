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

from streamproof.drivers.rabbitmq.codec import Message, properties_bytes, read_message, read_properties
from streamproof.drivers.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    lost,
    reply_error,
)
from streamproof.drivers.rabbitmq.wire import ack_method, content_frames, publish_method
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink
from streamproof.drivers.rabbitmq_aio_pika.tap import Tap
from streamproof.errors import BackendError, StreamproofError

_GONE = BackendError("the queue was deleted, or its server is going down")

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (aiormq.exceptions.ChannelAccessRefused, ACCESS_REFUSED),
    (aiormq.exceptions.ChannelNotFoundEntity, NOT_FOUND),
    (aiormq.exceptions.ChannelLockedResource, RESOURCE_LOCKED),
    (aiormq.exceptions.ChannelPreconditionFailed, PRECONDITION_FAILED),
)
"""aiormq keeps the reply code in the class."""

OnEnd = Callable[[StreamproofError | None], None]
Deliver = Callable[[int, bool, Message], None]
"""Called with delivery tag, whether it was redelivered, the message."""


def channel_error(reason: BaseException | None, doing: str) -> StreamproofError | None:
    """Why the server closed the channel; ``None`` if that does not say."""
    if not isinstance(reason, aiormq.exceptions.ChannelClosed):
        return None
    code, text = 0, str(reason)
    for kind, number in _CODES:
        if isinstance(reason, kind):
            code = number
    if not code and len(reason.args) == 2:
        code, text = reason.args[0] or 0, str(reason.args[1])
    error = reply_error(code, text, doing) if code else BackendError(f"{doing}: the channel was closed")
    error.__cause__ = reason
    return error


class AioChannel:
    """A channel, and whether it still is. Ended by the end of its connection, it ends with
    :class:`ConnectionLost`."""

    def __init__(self, link: AioLink, doing: str, on_end: OnEnd) -> None:
        self.link = link
        self.doing = doing
        self.number = 0
        self.tap: Tap | None = None
        self._channel: Any = None
        self._on_end: OnEnd | None = on_end
        self._is_closing = False
        self._is_shut = False
        """Whether the server closed it: from then on nothing may be written under its number."""
        self._ended_with: StreamproofError | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        if self._channel is None or self._is_closing or self._is_shut:
            return False
        return self.tap is not None and self.tap.is_up and not self._channel.is_closed

    async def open(self) -> None:
        """Open it. Raises what the server or the connection says, and then ``on_end`` is not told."""
        tap = self.tap = self.link.connection
        if tap is None or not tap.is_up:
            raise lost(self.doing, "not connected")
        on_end, self._on_end = self._on_end, None
        tap.add_dependant(self)
        try:
            with self._told():
                number = tap.take_number()
                channel = await tap.connection.channel(number, publisher_confirms=False)
                self._channel, self.number = channel, number
                tap.scanner.closes[number] = self._shut
                channel.closing.add_done_callback(self.link.guarded(self._closed))
                await self._ready()
        except BaseException:
            tap.remove_dependant(self)
            raise
        if self._ended_with is not None:
            raise self._ended_with
        if self._is_closing:
            await self._close()
        else:
            self._on_end = on_end

    async def request(self, frame: Any) -> Any:
        """One request and its answer. Raises what the server or the connection says."""
        with self._told():
            return await self._channel.rpc(frame)

    async def close(self) -> None:
        """Close it: what was delivered and not acknowledged goes back, in its place and order.

        The consumer is not cancelled first: the server answers a close before the queue has taken
        those messages back, and until it has, the consumer must stay the single active one. A
        cancelled one makes way at once, for a successor that would then get later messages first.
        """
        self._is_closing = True
        self._deafen()
        await self._close()

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone."""
        self._end(None if self._is_closing else error)

    async def _close(self) -> None:
        if (
            self._channel is not None
            and self.tap is not None
            and self.tap.is_up
            and not self._channel.is_closed
        ):
            with suppress(Exception):
                await self._channel.close()

    async def _ready(self) -> None:
        """The channel is open."""

    def _shut(self) -> None:
        self._is_shut = True
        self._deafen()

    def _closed(self, closing: Any) -> None:
        reason = None if closing.cancelled() else closing.exception()
        error = channel_error(reason, self.doing) or self._lost(reason)
        self._end(None if self._is_closing else error)

    def _deafen(self) -> None:
        """Take in nothing more."""
        if self.tap is not None and self.number:
            scanner = self.tap.scanner
            for listeners in (scanner.deliveries, scanner.returns, scanner.confirms):
                listeners.pop(self.number, None)

    def _end(self, error: StreamproofError | None) -> None:
        self._deafen()
        if self.tap is not None:
            self.tap.scanner.closes.pop(self.number, None)
            self.tap.remove_dependant(self)
            if not self._is_shut:
                # aiormq may not have answered the server's close yet, which frees the number there.
                self.tap.free_number(self.number)
        # From here on the number may be another channel's.
        self.number = 0
        self._tell(error)

    def _tell(self, error: StreamproofError | None) -> None:
        self._ended_with = self._ended_with or error
        told, self._on_end = self._on_end, None
        if told is not None:
            told(error)

    def _lost(self, reason: BaseException | None) -> StreamproofError:
        if self.tap is not None and self.tap.is_up:
            # aiormq says of a channel that was closed only that it was.
            error: StreamproofError = BackendError(f"{self.doing}: the channel was closed", retriable=True)
        else:
            error = lost(self.doing, str(reason) or type(reason).__name__)
        error.__cause__ = reason
        return error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What aiormq raises, in this package's errors. When its connection ends it also cancels what
        waits for it: to the waiting task that is no cancellation of its own."""
        try:
            yield
        except (aiormq.exceptions.AMQPError, RuntimeError, OSError) as cause:
            raise channel_error(cause, self.doing) or self._lost(cause) from cause
        except asyncio.CancelledError as cause:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._lost(cause) from cause


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
        if self.is_open and self.tap is not None:
            for tag, is_multiple in acks:
                self.tap.emit(ack_method(self.number, tag, is_multiple))

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
        with self._told():
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
        assert self.tap is not None
        self.tap.scanner.deliveries[self.number] = self._take
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
        self.link.spawn(self.close())
        self._tell(_GONE)


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
        assert self.tap is not None
        self.emit(content_frames(method, self.number, properties, body, self.tap.frame_max), 1)
        return self.next_tag - 1

    def emit(self, frames: bytes, messages: int) -> None:
        """Write the frames of so many messages."""
        assert self.tap is not None
        self.tap.emit(frames)
        self.next_tag += messages

    async def _ready(self) -> None:
        assert self.tap is not None
        scanner, channel = self.tap.scanner, self._channel
        scanner.returns[self.number] = self._returned
        scanner.confirms[self.number] = self._on_confirm
        await channel.rpc(spec.Confirm.Select())

    def _returned(self, properties: bytes) -> None:
        self._on_return(read_properties(properties)[1])


def _ignore(_: Any) -> None:
    """Deliveries are taken by the scanner before aiormq sees them."""
