"""One aio-pika connection, made again when it is lost.

aio-pika's robust connection can come back without its consumers, so this is the plain one, and
the recovery is the drivers' own. Channels are aiormq's, which aio-pika stands on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any

import aio_pika
import aiormq
from yarl import URL

from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.errors import ACCESS_REFUSED, NOT_ALLOWED, lost, reply_error
from streamproof.drivers.rabbitmq.quiet import quieten, silence_here
from streamproof.drivers.rabbitmq.topology import Endpoint, version_of
from streamproof.drivers.rabbitmq_aio_pika.tap import Tap
from streamproof.errors import AccessDenied, Closed, StreamproofError, TimedOut, Unreachable

_log = logging.getLogger("streamproof.rabbitmq")

_CONNECT_TIMEOUT_S = 5.0
_LEAVE_S = 2.0
"""What the server gets to answer a connection that takes leave."""
_BREATHS = 20
"""Turns of the event loop that a frame takes from the socket to where it is read, and some."""

_CONNECT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (aiormq.exceptions.AuthenticationError, ACCESS_REFUSED),
    (aiormq.exceptions.ProbableAuthenticationError, ACCESS_REFUSED),
    (aiormq.exceptions.ConnectionNotAllowed, NOT_ALLOWED),
)
"""aiormq keeps the reply code in the class."""

quieten("aiormq")
quieten("aio_pika")


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


class AioLink:
    """The connection, kept up until ``close``. ``on_up`` and ``on_down`` run on its event loop.

    A loss is one step, whatever it comes from: the network, the server, ``drop``, or a callback or
    task of this connection that failed. All that depends on the connection is told, then ``on_down``
    is called, and another connection is made. Pauses between tries grow until ``prove`` says that
    what the connection is for works. While ``may_connect`` says no, it is not made again (``wake``
    does that).
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
        self.connection: Tap | None = None
        self.version: tuple[int, ...] = (0,)
        self.error: StreamproofError | None = None
        self._endpoint = endpoint
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._on_up = on_up
        self._on_down = on_down
        self._may_connect = may_connect
        self._backoff = Backoff(free=len(endpoint.hosts) - 1)
        self._pause_s = 0.0
        self._is_closing = False
        self._tasks: dict[asyncio.Task[Any], Tap | None] = {}
        """With the connection that each belongs to."""
        self._wish = asyncio.Event()
        self._first = asyncio.Event()
        self._over = asyncio.Event()
        """Whether the connection at hand was lost."""
        self._keeper: asyncio.Task[None] | None = None
        self._context = _silent_context()

    @property
    def where(self) -> str:
        """The address, fit for errors and logs."""
        return self._endpoint.redacted

    @property
    def is_over(self) -> bool:
        """Whether it was closed."""
        return self._is_closing

    async def open(self, timeout_s: float) -> None:
        """Connect and stay connected. One try a host; raises its error."""
        self._keeper = self.start(self._keep())
        waiter = asyncio.create_task(self._first.wait())
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            waiter.cancel()
            if self.connection is None:
                await self.close(1.0)
        if self.connection is None:
            raise self.error or Unreachable(f"RabbitMQ at {self.where} did not answer within {timeout_s} s")

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task in which the client libraries' loggers are silent."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that belongs to this connection: it is cancelled with it, and if it fails, the
        connection is given up."""
        task = self.start(work)
        self._tasks[task] = self.connection
        task.add_done_callback(self._task_ended)

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback, for the event loop: if it fails, the connection is given up."""

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._broke(error)

        return guarded

    def soon(self, callback: Callable[[], None]) -> None:
        """Run it in the loop's next turn."""
        asyncio.get_running_loop().call_soon(self.guarded(callback))

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run it after that time; the handle can be cancelled."""
        return asyncio.get_running_loop().call_later(delay_s, self.guarded(callback))

    def wake(self) -> None:
        """Connect if it was waiting for leave to."""
        self._wish.set()

    def prove(self) -> None:
        """What this connection is for works: after its loss the first pause is short again."""
        self._backoff.prove(time.monotonic())

    def drop(self, why: object) -> None:
        """Go on on another connection."""
        self._lose(lost(f"at {self.where}", why))

    async def close(self, timeout_s: float) -> None:
        """Close the connection; nothing runs afterwards. A second call does nothing."""
        self._is_closing = True
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        self._lose(Closed(f"the connection to {self.where} was closed"))
        self._wish.set()
        keeper.cancel()
        done, _ = await asyncio.wait({keeper}, timeout=max(0.05, timeout_s))
        for task in list(self._tasks):
            task.cancel()
        if not done:
            raise TimedOut(f"the connection to {self.where} did not close within {timeout_s} s")

    # -- inside ----------------------------------------------------------------------------

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        tap = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and tap is self.connection:
            self._broke(error)

    def _broke(self, error: Exception) -> None:
        """A callback failed. Nobody knows what it left undone, so nothing of the connection stays."""
        if self._is_closing:
            _log.debug("%s: a callback failed while it was closed", self._name, exc_info=error)
            return
        _log.error("%s: a callback failed", self._name, exc_info=error)
        failure = lost(f"at {self.where}", f"given up because of {error!r}")
        failure.__cause__ = error
        self._lose(failure)

    def _lose(self, error: StreamproofError) -> None:
        tap = self.connection
        if tap is None:
            return
        self.connection = None
        if not self._is_closing:
            _log.warning("%s: %s", self._name, error)
        for dependant in tap.give_up():
            self._tell(dependant.lost, error)
        self._tell(self._on_down, error)
        current = _current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._pause_s = self._backoff.fail(time.monotonic())
        self._over.set()

    def _tell(self, listener: Callable[[StreamproofError], None], error: StreamproofError) -> None:
        try:
            listener(error)
        except Exception:
            # The others have to be told all the same, and the connection is lost already.
            _log.exception("%s: it could not be told that the connection was lost", self._name)

    async def _keep(self) -> None:
        """Connect, wait for the end, begin again."""
        while not self._is_closing:
            tap, native = Tap(self._broke), None
            try:
                native = await self._connect(tap)
                if native is not None:
                    await self._serve(tap, native)
            except Exception as error:
                _log.exception("%s: the connection could not be kept", self._name)
                self._connect_failed(error, tap)
            finally:
                self.native = None
                if native is not None:
                    await self._leave(tap, native)
            await self._pause()

    async def _connect(self, tap: Tap) -> Any:
        """aio-pika's connection, or ``None``."""
        host, port = self._endpoint.hosts[self._backoff.failures % len(self._endpoint.hosts)]
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
        # In a task of its own: aiormq cancels whoever waits for a connection that ends, and that must
        # not be this one.
        attempt = self.start(native.connect(timeout=_CONNECT_TIMEOUT_S))
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.wait({attempt}, timeout=_LEAVE_S)
            tap.abort()
            raise
        if attempt.cancelled() or attempt.exception() is not None:
            cause = None if attempt.cancelled() else attempt.exception()
            tap.abort()
            self._connect_failed(cause or ConnectionError("the connection was closed"), tap)
            return None
        return native

    def _connect_failed(self, cause: BaseException, tap: Tap) -> None:
        self._pause_s = self._backoff.fail(time.monotonic())
        if self._backoff.failures >= len(self._endpoint.hosts):
            self.error = self._connect_error(cause, tap.refusal)
            self._first.set()

    def _connect_error(self, cause: BaseException, refusal: tuple[int, str] | None) -> StreamproofError:
        doing = f"connection to {self.where}"
        code = next((number for kind, number in _CONNECT_CODES if isinstance(cause, kind)), 0)
        is_closed = isinstance(cause, aiormq.exceptions.ConnectionClosed) and len(cause.args) == 2
        error: StreamproofError
        if code == ACCESS_REFUSED or (refusal or (0,))[0] == ACCESS_REFUSED:
            error = AccessDenied(f"RabbitMQ at {self.where} refused the user or the password")
        elif refusal is not None:
            error = reply_error(*refusal, doing)
        elif code:
            error = reply_error(code, str(cause), doing)
        elif is_closed and cause.args[0]:
            error = reply_error(cause.args[0], str(cause.args[1]), doing)
        else:
            told = str(cause) or type(cause).__name__
            error = Unreachable(f"no connection to RabbitMQ at {self.where}: {told}; is it running there?")
        error.__cause__ = cause
        return error

    async def _serve(self, tap: Tap, native: Any) -> None:
        """While the connection lasts."""
        assert native.transport is not None
        tap.connection = native.transport.connection
        tap.frame_max = tap.connection.connection_tune.frame_max or tap.frame_max
        self.version = version_of(dict(tap.connection.server_properties or {}))
        self._over.clear()
        self.error, self.native, self.connection = None, native, tap
        self._first.set()
        tap.connection.closing.add_done_callback(partial(self._closed, tap))
        if self._backoff.failures:
            _log.info("%s: connected to RabbitMQ at %s again", self._name, self.where)
        self.guarded(self._on_up)()
        await self._over.wait()

    def _closed(self, tap: Tap, closing: Any) -> None:
        """aiormq noticed the end."""
        cause = None if closing.cancelled() else closing.exception()
        if self.connection is tap:
            told = f"{tap.refusal}" if tap.refusal else str(cause) or "closed by the server or the network"
            error = lost(f"at {self.where}", told)
            error.__cause__ = cause
            self._lose(error)

    async def _leave(self, tap: Tap, native: Any) -> None:
        """Take leave of the server, within a bound, also when the application wants to be gone."""
        leaving = self.start(native.close())
        try:
            await asyncio.wait({leaving}, timeout=_LEAVE_S)
        finally:
            leaving.cancel()
            with suppress(Exception):
                tap.abort()
            leaving.add_done_callback(retrieve)

    async def _pause(self) -> None:
        if not self._may_connect():
            self._wish.clear()
            await self._wish.wait()
        elif self._pause_s:
            await asyncio.sleep(self._pause_s)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def retrieve(future: asyncio.Future[Any]) -> None:
    """Look at how it went, so that asyncio does not complain where nobody else does."""
    if not future.cancelled():
        future.exception()


def _silent_context() -> Context:
    context = copy_context()
    context.run(silence_here)
    return context
