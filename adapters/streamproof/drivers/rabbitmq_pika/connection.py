"""A pika connection whose hot frames are read on bytes, and which can be given up at once."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import pika
from pika.exceptions import AuthenticationError, ConnectionClosed, StreamLostError

from streamproof.drivers.rabbitmq.errors import NOT_ALLOWED, reply_error
from streamproof.drivers.rabbitmq.wire import FrameScanner
from streamproof.errors import AccessDenied, StreamproofError, Unreachable


class Dependant(Protocol):
    """What ends with its connection."""

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone."""
        ...


class Connection(pika.SelectConnection):
    """All on the I/O thread. ``on_error`` is told what the handling of received data raises."""

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        on_error: Callable[[Exception], None],
        **callbacks: Any,
    ) -> None:
        self.scanner = FrameScanner(super()._on_data_available)
        self.is_given_up = False
        self._on_error = on_error
        self._dependants: dict[Dependant, None] = {}
        super().__init__(parameters, **callbacks)

    @property
    def is_up(self) -> bool:
        """Whether anything can be asked of it."""
        return self.is_open and not self.is_given_up

    def emit(self, frames: bytes) -> None:
        """Write whole frames that were put together elsewhere."""
        self.bytes_sent += len(frames)
        self._adapter_emit_data(frames)

    def add_dependant(self, dependant: Dependant) -> None:
        """Tell it when the connection is lost."""
        self._dependants[dependant] = None

    def remove_dependant(self, dependant: Dependant) -> None:
        """It ended before."""
        self._dependants.pop(dependant, None)

    def give_up(self) -> list[Dependant]:
        """Be deaf and dumb from now on; returns those to tell."""
        self.is_given_up = True
        self.scanner.mute()
        dependants, self._dependants = list(self._dependants), {}
        return dependants

    def leave(self) -> None:
        """Take leave of the server; the end is told as pika tells it.

        pika cancels the consumers that it knows of before it closes their channels, and a cancelled
        consumer makes way for its successor before its unacknowledged messages are back in the queue.
        """
        for channel in self._channels.values():
            channel._consumers.clear()
        if self.is_open:
            self.close()
        else:
            self.abort()

    def abort(self) -> None:
        """End it without a word."""
        if not self.is_closed:
            self._terminate_stream(StreamLostError("given up"))

    def shut(self) -> None:
        """The loop is over, and pika can do nothing more: close the socket at least."""
        transport, self._transport = getattr(self, "_transport", None), None
        if transport is not None:
            with suppress(Exception):
                transport._close_and_finalize()

    def _on_data_available(self, data_in: bytes) -> None:
        try:
            self.scanner.feed(data_in)
        except Exception as error:
            # pika would abort over it, too, but tell nobody where it came from. What follows cannot be
            # understood any more.
            if not self.is_given_up:
                self._on_error(error)
            self.abort()
            return
        # pika's heartbeat check looks at this count.
        self.bytes_received += self.scanner.bytes_taken
        self.scanner.bytes_taken = 0


def connection_error(error: BaseException, where: str) -> StreamproofError:
    """A failure to connect, or the end of a connection, in this package's errors."""
    found: StreamproofError | None = None
    for reason in _reasons(error):
        # pika also guesses at the password when the connection only broke during the handshake; the
        # server's own answer is in the text.
        if isinstance(reason, AuthenticationError) or "(403)" in str(reason):
            found = AccessDenied(f"RabbitMQ at {where} refused the user or the password")
        elif isinstance(reason, ConnectionClosed):
            found = reply_error(reason.reply_code, reason.reply_text, f"connection to {where}")
        elif "(530)" in str(reason):
            found = reply_error(NOT_ALLOWED, str(reason), f"connection to {where}")
        if found is not None:
            break
    if found is None:
        found = Unreachable(f"no connection to RabbitMQ at {where}: {brief(error)}; is it running there?")
    found.__cause__ = error
    return found


def brief(error: BaseException) -> str:
    """The innermost reason, in words."""
    innermost = _reasons(error)[-1]
    return str(innermost) or type(innermost).__name__


def _reasons(error: BaseException) -> list[BaseException]:
    """The error and those that pika wrapped in it, from outside in."""
    found = [error]
    for reason in found:
        inner = [*reason.args, *getattr(reason, "exceptions", ()), getattr(reason, "exception", None)]
        found.extend(item for item in inner if isinstance(item, BaseException) and item not in found)
    return found
