"""Channels of one purpose each, on a link's I/O thread: one that reads a queue, one that publishes.

Everything here runs on the I/O thread. A channel that fails tells so once, through ``on_end``; the
server closes a channel for an error in any one request, so nothing else shares it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosed

from streamproof.drivers.rabbitmq.codec import read_properties
from streamproof.drivers.rabbitmq.errors import lost, reply_error
from streamproof.drivers.rabbitmq.wire import Deliver
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.errors import BackendError, StreamproofError

_GONE = BackendError("the queue was deleted, or its server is going down")

OnEnd = Callable[[StreamproofError | None], None]
"""Told why a channel ended; ``None`` if it was asked to."""


def channel_error(reason: BaseException, doing: str) -> StreamproofError:
    """Why a channel closed."""
    if isinstance(reason, ChannelClosed):
        error = reply_error(reason.reply_code, reason.reply_text, doing)
    else:
        error = lost(doing, reason)
    error.__cause__ = reason
    return error


class Channel:
    """A channel, and whether it still is. Ended by the end of its connection, it ends with
    :class:`ConnectionLost`."""

    def __init__(self, connection: Connection, doing: str, on_end: OnEnd) -> None:
        self.connection = connection
        self.doing = doing
        self.number = 0
        self._channel: Any = None
        self._on_end: OnEnd | None = on_end
        self._is_closing = False
        if not connection.is_up:
            self._end(lost(doing, "not connected"))
            return
        connection.add_dependant(self)
        try:
            connection.channel(on_open_callback=self._opened)
        except AMQPError as error:
            self._end(lost(doing, error))

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        is_up = self._channel is not None and self.connection.is_up
        return is_up and self._channel.is_open and not self._is_closing

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone."""
        self._end(None if self._is_closing else error)

    def close(self) -> None:
        """Close it: what was delivered and not acknowledged goes back, in its place and order.

        The consumer is not cancelled first: the server answers a close before the queue has taken
        those messages back, and until it has, the consumer must stay the single active one. A
        cancelled one makes way at once, for a successor that would then get later messages first.
        """
        self._is_closing = True
        self._deafen()
        if not self.connection.is_up:
            self._end(None)
        elif self._channel is not None and self._channel.is_open:
            # pika cancels the consumers that it knows of before it closes a channel.
            self._channel._consumers.clear()
            self._channel.close()
        elif self._channel is None or self._channel.is_closed:
            self._end(None)

    def _opened(self, channel: Any) -> None:
        if not self.connection.is_up:
            return
        self._channel = channel
        self.number = channel.channel_number
        channel.add_on_close_callback(self._closed)
        if self._is_closing:
            self.close()
        else:
            self._ready()

    def _ready(self) -> None:
        """The channel is open."""

    def _closed(self, _: Any, reason: BaseException) -> None:
        self._end(None if self._is_closing else channel_error(reason, self.doing))

    def _deafen(self) -> None:
        """Take in nothing more."""
        self.connection.scanner.deliveries.pop(self.number, None)
        self.connection.scanner.returns.pop(self.number, None)
        self.connection.scanner.confirms.pop(self.number, None)

    def _end(self, error: StreamproofError | None) -> None:
        self._deafen()
        # From here on the number may be another channel's.
        self.number = 0
        self.connection.remove_dependant(self)
        told, self._on_end = self._on_end, None
        if told is not None:
            told(error)


class ReadingChannel(Channel):
    """Consumes one queue, from one or several places if it is a stream."""

    def __init__(
        self,
        connection: Connection,
        queue: str,
        prefetch: int,
        deliver: Deliver,
        on_end: OnEnd,
        *,
        places: tuple[Any, ...] = (),
        on_attached: Callable[[], None] | None = None,
        is_exclusive: bool = False,
    ) -> None:
        self._queue = queue
        self._prefetch = min(prefetch, 65_535)
        self._deliver = deliver
        self._places = places
        self._on_attached = on_attached
        self._is_exclusive = is_exclusive
        self._missing = max(1, len(places))
        super().__init__(connection, f"reading {queue}", on_end)

    def acknowledge(self, acks: Iterable[tuple[int, bool]]) -> None:
        """Acknowledge delivery tags; with ``True`` all lower ones, too."""
        if self.is_open:
            for tag, is_multiple in acks:
                self._channel.basic_ack(tag, is_multiple)

    def ask(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the server has answered what was sent before: its deliveries are in."""
        if self.is_open:
            self._channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: then())

    def stop(self, then: Callable[[], None]) -> None:
        """Close once the acknowledgements sent before are taken in; call ``then`` at the end, however
        that comes."""
        self._on_end = lambda _: then()
        if self.is_open and not self._missing and not self._places:
            self._deafen()
            self._settle()
        else:
            self.close()

    def _settle(self) -> None:
        """A quorum queue's channel keeps back acknowledgements while many are on their way, and forgets
        them when it is closed. Requests to the queue itself stand in line behind those on their
        way; after the answer to the first, what was kept back is sent, and the second waits for it.
        The second consumer does no harm: it waits behind the first, the single active one."""
        self._channel.basic_consume(self._queue, _ignore, callback=self._settling)

    def _settling(self, answer: Any) -> None:
        if self.is_open:
            self._channel.basic_cancel(answer.method.consumer_tag, callback=lambda _: self._settled())

    def _settled(self) -> None:
        if self.is_open:
            self.close()

    def _ready(self) -> None:
        self._channel.add_on_cancel_callback(self._cancelled)
        self.connection.scanner.deliveries[self.number] = self._deliver
        self._channel.basic_qos(prefetch_count=self._prefetch, callback=self._consume)

    def _consume(self, _: Any) -> None:
        if not self.is_open:
            return
        for place in self._places or (None,):
            self._channel.basic_consume(
                self._queue,
                _ignore,
                exclusive=self._is_exclusive,
                arguments=None if place is None else {"x-stream-offset": place},
                callback=self._consuming,
            )

    def _consuming(self, _: Any) -> None:
        self._missing -= 1
        if not self._missing and self._on_attached is not None:
            self._on_attached()

    def _cancelled(self, _: Any) -> None:
        told, self._on_end = self._on_end, None
        self.close()
        if told is not None:
            told(_GONE)


class WritingChannel(Channel):
    """Publishes with confirms."""

    def __init__(
        self,
        connection: Connection,
        doing: str,
        on_confirm: Callable[[int, bool, bool], None],
        on_return: Callable[[str], None],
        on_end: OnEnd,
        on_ready: Callable[[], None],
    ) -> None:
        self.next_tag = 1
        self._on_confirm = on_confirm
        self._on_return = on_return
        self._on_ready = on_ready
        super().__init__(connection, doing, on_end)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: dict[str, Any] | None = None,
        message_id: str | None = None,
        is_persistent: bool = True,
    ) -> int:
        """Publish one message through pika, mandatory; its delivery tag."""
        properties = pika.BasicProperties(  # type: ignore[no-untyped-call]
            headers=headers, message_id=message_id, delivery_mode=2 if is_persistent else 1
        )
        self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        self.next_tag += 1
        return self.next_tag - 1

    def emit(self, frames: bytes, messages: int) -> None:
        """Write the frames of so many messages."""
        self.connection.emit(frames)
        self.next_tag += messages

    def _ready(self) -> None:
        self.connection.scanner.returns[self.number] = self._returned
        self.connection.scanner.confirms[self.number] = self._on_confirm
        self._channel.confirm_delivery(_ignore, callback=lambda _: self._on_ready())

    def _returned(self, properties: bytes) -> None:
        self._on_return(read_properties(properties)[1])


def _ignore(*_: object) -> None:
    """Deliveries and confirms are taken by the scanner before pika sees them."""
