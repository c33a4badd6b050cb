"""The socket of one aio-pika connection, read along before aiormq sees what came.

aiormq makes a task of every delivery and walks through all unconfirmed messages at every confirm, so
those frames are taken out of the stream here, and publishes and acknowledgements are written beside
it; every other frame is its own.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import aiormq
from yarl import URL

from streamproof.drivers.rabbitmq.wire import HEARTBEAT, FrameScanner, close_reason
from streamproof.errors import StreamproofError

_SIGN_OF_LIFE_S = 0.5


class Dependant(Protocol):
    """What ends with its connection."""

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone."""
        ...


class Tap(aiormq.TransportFactory):
    """Opens the socket, and reads along. ``on_error`` is told what the handling of received data raises.

    It is what channels hold of a connection: after ``give_up`` nothing is written or heard any more,
    while aiormq may still take leave of the server.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self.scanner = FrameScanner(self._pass_on)
        self.connection: Any = None
        """aiormq's, once it is open."""
        self.frame_max = 131_072
        self.is_given_up = False
        self.refusal: tuple[int, str] | None = None
        """Why the server closed the connection; while it is being opened, aiormq does not tell."""
        self._on_error = on_error
        self._writer: asyncio.StreamWriter | None = None
        self._dependants: dict[Dependant, None] = {}
        self._numbers: set[int] = set()
        self._feed: Callable[[bytes], None] = _nowhere
        self._passed_s = 0.0

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """What aiormq reads from and writes to."""
        kwargs.pop("ssl_context_provider", None)
        try:
            reader, self._writer = await asyncio.open_connection(url.host, url.port, **kwargs)
        except OSError as cause:
            raise aiormq.exceptions.AMQPConnectionError(*cause.args) from cause
        self._feed = reader.feed_data
        setattr(reader, "feed_data", self._take)  # noqa: B010 - mypy takes methods for constants
        return reader, self._writer

    @property
    def is_up(self) -> bool:
        """Whether anything can be asked of the connection."""
        return not self.is_given_up and self.connection is not None and not self.connection.is_closed

    def emit(self, frames: bytes) -> None:
        """Write whole frames, in order with everything else that is written."""
        if self._writer is not None and not self.is_given_up and not self._writer.is_closing():
            self._writer.write(frames)

    def add_dependant(self, dependant: Dependant) -> None:
        """Tell it when the connection is lost."""
        self._dependants[dependant] = None

    def remove_dependant(self, dependant: Dependant) -> None:
        """It ended before."""
        self._dependants.pop(dependant, None)

    def take_number(self) -> int:
        """A number for another channel, the lowest that is free: left to itself aiormq climbs beyond what
        the server allows."""
        taken = self._numbers | set(self.connection.channels)
        number = next(number for number in count(1) if number not in taken)
        self._numbers.add(number)
        return number

    def free_number(self, number: int) -> None:
        """That channel is closed, on both sides."""
        self._numbers.discard(number)

    def give_up(self) -> list[Dependant]:
        """Be deaf and dumb from now on; returns those to tell."""
        self.is_given_up = True
        self.scanner.mute()
        dependants, self._dependants = list(self._dependants), {}
        return dependants

    def abort(self) -> None:
        """Close the socket without a word."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _take(self, data: bytes) -> None:
        try:
            self.scanner.feed(data)
        except Exception as error:
            # asyncio would close the socket over it, too, but tell nobody where it came from. What
            # follows cannot be understood any more.
            if not self.is_given_up:
                self._on_error(error)
            self.abort()
            return
        if self.scanner.bytes_taken:
            self.scanner.bytes_taken = 0
            now_s = time.monotonic()
            if now_s - self._passed_s > _SIGN_OF_LIFE_S:
                # The server sends no heartbeats while it sends deliveries, and aiormq sees none of
                # those: it would take the connection for dead.
                self._passed_s = now_s
                self._feed(HEARTBEAT)

    def _pass_on(self, frame: bytes) -> None:
        self.refusal = close_reason(frame) or self.refusal
        self._feed(frame)


def _nowhere(_: bytes) -> None:
    """There is no connection yet."""
