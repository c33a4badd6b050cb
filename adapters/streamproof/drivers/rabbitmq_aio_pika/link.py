"""One aio-pika connection, made again when it is lost.

aio-pika's robust connection can come back without its consumers, so this is the plain one, and
the recovery is the drivers' own. Channels are aiormq's, which aio-pika stands on. aiormq makes a
task of every delivery and walks through all unconfirmed messages at every confirm, so those frames
are taken out of the stream before it sees them, and publishes and acks written beside it; every
other frame is its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import aio_pika
import aiormq
from yarl import URL

from streamproof.drivers.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_ALLOWED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    lost,
    reply_error,
)
from streamproof.drivers.rabbitmq.topology import Endpoint, version_of
from streamproof.drivers.rabbitmq.wire import HEARTBEAT, FrameScanner, close_reason
from streamproof.errors import AccessDenied, StreamproofError, TimedOut, Unreachable

_log = logging.getLogger("streamproof.rabbitmq")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_WELL_S = 2.0
"""A connection that lasted so long is made again at once."""
_SIGN_OF_LIFE_S = 0.5
_BREATHS = 20
"""Turns of the event loop that a frame takes from the socket to where it is read, and some."""

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (aiormq.exceptions.AuthenticationError, ACCESS_REFUSED),
    (aiormq.exceptions.ProbableAuthenticationError, ACCESS_REFUSED),
    (aiormq.exceptions.ConnectionNotAllowed, NOT_ALLOWED),
    (aiormq.exceptions.ChannelAccessRefused, ACCESS_REFUSED),
    (aiormq.exceptions.ChannelNotFoundEntity, NOT_FOUND),
    (aiormq.exceptions.ChannelLockedResource, RESOURCE_LOCKED),
    (aiormq.exceptions.ChannelPreconditionFailed, PRECONDITION_FAILED),
)
"""aiormq keeps the reply code in the class."""


def native_error(error: BaseException | None, doing: str) -> StreamproofError:
    """What aiormq raised, in this package's errors."""
    code, text = 0, str(error)
    for kind, number in _CODES:
        if isinstance(error, kind):
            code = number
    kinds = (aiormq.exceptions.ChannelClosed, aiormq.exceptions.ConnectionClosed)
    if not code and isinstance(error, kinds) and len(error.args) == 2:
        code, text = error.args[0] or 0, str(error.args[1])
    found = reply_error(code, text, doing) if code else lost(doing, text or type(error).__name__)
    found.__cause__ = error
    return found


async def wait_for_news(news: asyncio.Event, left_s: float) -> None:
    """Wait until ``news`` is set or the time is up; with no time left, let the event loop do what
    it has to do: a caller that polls without ever waiting would starve connection and heartbeats."""
    if news.is_set():
        return
    if left_s <= 0:
        for _ in range(_BREATHS):
            await asyncio.sleep(0)
        return
    waiter = asyncio.ensure_future(news.wait())
    try:
        await asyncio.wait({waiter}, timeout=left_s)
    finally:
        waiter.cancel()


class _Tap(aiormq.TransportFactory):
    """Opens the socket, and reads along."""

    def __init__(self) -> None:
        self.scanner = FrameScanner(self._pass_on)
        self.writer: asyncio.StreamWriter | None = None
        self.refusal: tuple[int, str] | None = None
        """Why the server closed the connection; while it is being opened, aiormq does not tell."""
        self._feed: Callable[[bytes], None] = _nowhere
        self._passed_s = 0.0

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """What aiormq reads from and writes to."""
        kwargs.pop("ssl_context_provider", None)
        try:
            reader, self.writer = await asyncio.open_connection(url.host, url.port, **kwargs)
        except OSError as cause:
            raise aiormq.exceptions.AMQPConnectionError(*cause.args) from cause
        self._feed = reader.feed_data
        setattr(reader, "feed_data", self._take)  # noqa: B010 - mypy takes methods for constants
        return reader, self.writer

    def _take(self, data: bytes) -> None:
        self.scanner.feed(data)
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


class AioLink:
    """The connection, kept up until ``close``. ``on_up`` and ``on_down`` run on its event loop.

    While ``may_connect`` says no, a lost connection is not made again (``wake`` does that).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        heartbeat_s: int,
        on_up: Callable[[], None],
        on_down: Callable[[StreamproofError], None],
        may_connect: Callable[[], bool] = lambda: True,
    ) -> None:
        self.native: Any = None
        self.connection: Any = None
        self.version: tuple[int, ...] = (0,)
        self.frame_max = 131_072
        self.error: StreamproofError | None = None
        self._endpoint = endpoint
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._on_up = on_up
        self._on_down = on_down
        self._may_connect = may_connect
        self._attempts = 0
        self._is_closing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wish = asyncio.Event()
        self._first = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._tap = _Tap()

    @property
    def scanner(self) -> FrameScanner:
        """Where channels register for their deliveries and confirms."""
        return self._tap.scanner

    @property
    def where(self) -> str:
        """The address, fit for errors and logs."""
        return self._endpoint.redacted

    async def open(self, timeout_s: float) -> None:
        """Connect and stay connected. One try a host; raises its error."""
        self._keeper = asyncio.create_task(self._keep(), name=f"streamproof-{self._name}")
        waiter = asyncio.create_task(self._first.wait())
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            waiter.cancel()
            if self.connection is None:
                await self.close(1.0)
        if self.connection is None:
            raise self.error or Unreachable(f"RabbitMQ at {self.where} did not answer within {timeout_s} s")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that belongs to this connection; it is cancelled with it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def emit(self, frames: bytes) -> None:
        """Write whole frames, in order with everything else that is written."""
        writer = self._tap.writer
        if writer is not None and not writer.is_closing():
            writer.write(frames)

    def wake(self) -> None:
        """Connect if it was waiting for leave to."""
        self._wish.set()

    def drop(self) -> None:
        """End this connection as if it were lost."""
        if self.native is not None:
            self._detach(asyncio.create_task(self.native.close()))

    async def close(self, timeout_s: float) -> None:
        """Close the connection; nothing runs afterwards. A second call does nothing."""
        self._is_closing = True
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        done, _ = await asyncio.wait({keeper}, timeout=max(0.05, timeout_s))
        for task in list(self._tasks):
            task.cancel()
        if not done:
            raise TimedOut(f"the connection to {self.where} did not close within {timeout_s} s")

    # -- inside ----------------------------------------------------------------------------

    def _detach(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s: a task broke", self._name, exc_info=task.exception())

    async def _keep(self) -> None:
        """Connect, wait for the end, begin again."""
        try:
            while not self._is_closing:
                if await self._connect():
                    opened_s = time.monotonic()
                    await self._serve()
                    await self._close_native()
                    # A server that is not well yet takes connections, and ends them soon.
                    was_well = time.monotonic() - opened_s > _WELL_S
                    self._attempts = 0 if was_well else self._attempts + len(self._endpoint.hosts)
                await self._pause()
        finally:
            await self._close_native()

    async def _close_native(self) -> None:
        native, self.native, self.connection = self.native, None, None
        if native is not None:
            with suppress(Exception):
                await native.close()

    async def _pause(self) -> None:
        if not self._may_connect():
            self._wish.clear()
            await self._wish.wait()
        elif self._attempts:
            tries = max(0, self._attempts - len(self._endpoint.hosts))
            await asyncio.sleep(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**tries))

    async def _connect(self) -> bool:
        host, port = self._endpoint.hosts[self._attempts % len(self._endpoint.hosts)]
        tap = _Tap()
        native = aio_pika.Connection(
            URL.build(
                scheme="amqp",
                host=host,
                port=port,
                user=self._endpoint.username,
                password=self._endpoint.password,
                path="/" + self._endpoint.vhost,
                query={"heartbeat": str(self._heartbeat_s)},
            ),
            client_properties={"connection_name": f"streamproof {self._name}"},
        )
        native.kwargs["transport_factory"] = tap
        try:
            await native.connect(timeout=_CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as cause:
            self._attempts += 1
            if self._attempts >= len(self._endpoint.hosts):
                self.error = self._connect_error(cause, tap.refusal)
                self._first.set()
            return False
        self.error = None
        self._tap, self.native = tap, native
        assert native.transport is not None
        self.connection = native.transport.connection
        self.version = version_of(dict(self.connection.server_properties or {}))
        self.frame_max = self.connection.connection_tune.frame_max or self.frame_max
        self._first.set()
        return True

    def _connect_error(self, cause: BaseException, refusal: tuple[int, str] | None) -> StreamproofError:
        doing = f"connection to {self.where}"
        error = reply_error(*refusal, doing) if refusal is not None else native_error(cause, doing)
        if isinstance(cause, aiormq.exceptions.AuthenticationError) or (refusal or (0,))[0] == ACCESS_REFUSED:
            error = AccessDenied(f"RabbitMQ at {self.where} refused the user or the password")
        elif isinstance(error, Unreachable):
            told = str(cause) or type(cause).__name__
            error = Unreachable(f"no connection to RabbitMQ at {self.where}: {told}; is it running there?")
        error.__cause__ = cause
        return error

    async def _serve(self) -> None:
        """While the connection lasts."""
        self._on_up()
        try:
            with suppress(Exception):
                await self.connection.closing
        finally:
            self.connection = None
            for task in list(self._tasks):
                task.cancel()
            if not self._is_closing:
                _log.warning("%s: the connection to RabbitMQ at %s was lost", self._name, self.where)
            self._on_down(lost(f"at {self.where}", "closed by the server or the network"))
