"""One AMQP connection on one thread of its own, made again when it is lost.

pika is not thread-safe, and its blocking connection confirms publishes one by one and answers no
heartbeats while the application works; so a ``SelectConnection`` runs here on an I/O thread that
does nothing else. Everything of pika is touched on that thread only: others ask by ``call``.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pika

from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.errors import lost
from streamproof.drivers.rabbitmq.quiet import quieten, silence_here
from streamproof.drivers.rabbitmq.topology import Endpoint, version_of
from streamproof.drivers.rabbitmq_pika.connection import Connection, brief, connection_error
from streamproof.drivers.rabbitmq_pika.loop import GuardedLoop
from streamproof.errors import Closed, StreamproofError, TimedOut, Unreachable

_log = logging.getLogger("streamproof.rabbitmq")

_CONNECT_TIMEOUT_S = 5.0
_LEAVE_S = 2.0
"""What the server gets to answer a connection that takes leave."""

quieten("pika")


class Link:
    """The connection, kept up until ``close``. ``on_up`` and ``on_down`` run on its thread.

    A loss is one step, whatever it comes from: the network, the server, ``drop``, or a callback on
    this thread that failed. All that depends on the connection is told, then ``on_down`` is called,
    and another connection is made. Pauses between tries grow until ``prove`` says that what the
    connection is for works. While ``may_connect`` says no, it is not made again (``wake`` does that).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        heartbeat_s: int,
        on_up: Callable[[Connection], None],
        on_down: Callable[[StreamproofError], None],
        may_connect: Callable[[], bool] = lambda: True,
    ) -> None:
        self.connection: Connection | None = None
        self.version: tuple[int, ...] = (0,)
        self.error: StreamproofError | None = None
        self._endpoint = endpoint
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._on_up = on_up
        self._on_down = on_down
        self._may_connect = may_connect
        self._backoff = Backoff(free=len(endpoint.hosts) - 1)
        self._connecting: Connection | None = None
        self._leaving: set[Connection] = set()
        """Given up; they end by themselves, and nobody is told."""
        self._pause: Any = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._loop = GuardedLoop(self._broke)
        self._thread = threading.Thread(target=self._run, name=f"streamproof-{name}", daemon=True)

    @property
    def where(self) -> str:
        """The address, fit for errors and logs."""
        return self._endpoint.redacted

    @property
    def is_over(self) -> bool:
        """Whether it was closed, so that nothing asked by ``call`` is done any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs on the I/O thread."""
        return threading.current_thread() is self._thread

    def open(self, timeout_s: float) -> None:
        """Start the thread and wait until connected. One try a host; raises its error."""
        self._thread.start()
        self.call(self.connect)
        with self._changed:
            self._changed.wait_for(lambda: self.connection is not None or self.error is not None, timeout_s)
            failure = self.error
            is_up = self.connection is not None
        if not is_up:
            self.close(1.0)
            raise failure or Unreachable(f"RabbitMQ at {self.where} did not answer within {timeout_s} s")

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the I/O thread, soon. After ``close`` it is dropped."""
        self._loop.add_callback_threadsafe(function)

    def later(self, delay_s: float, function: Callable[[], None]) -> Any:
        """Run ``function`` after that time; on the I/O thread only. Returns a handle to ``forget``."""
        return self._loop.call_later(delay_s, function)

    def forget(self, handle: Any) -> None:
        """Do not run what ``later`` planned."""
        self._loop.remove_timeout(handle)

    def prove(self) -> None:
        """What this connection is for works: after its loss the first pause is short again."""
        self._backoff.prove(time.monotonic())

    def drop(self, why: object) -> None:
        """Go on on another connection; on the I/O thread only."""
        self._lose(lost(f"at {self.where}", why))

    def close(self, timeout_s: float) -> None:
        """Close the connection and end the thread. Bounded; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self.call(self._begin_close)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.call(self._loop.stop)
            self._thread.join(1.0)
        if self._thread.is_alive():
            raise TimedOut(f"the connection to {self.where} did not close within {timeout_s} s")

    # -- on the I/O thread -----------------------------------------------------------------

    def wake(self) -> None:
        """Connect if nothing else is about to."""
        if self._pause is None:
            self.connect()

    def connect(self) -> None:
        """Begin to connect, unless connected or connecting."""
        if self._is_closing or self._connecting is not None or self.connection is not None:
            return
        self._pause = None
        host, port = self._endpoint.hosts[self._backoff.failures % len(self._endpoint.hosts)]
        parameters = pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=self._endpoint.vhost,
            credentials=pika.PlainCredentials(self._endpoint.username, self._endpoint.password),
            heartbeat=self._heartbeat_s,
            connection_attempts=1,
            socket_timeout=_CONNECT_TIMEOUT_S,
            stack_timeout=_CONNECT_TIMEOUT_S,
            client_properties={"connection_name": f"streamproof {self._name}"},
        )
        self._connecting = Connection(
            parameters,
            self._broke,
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._ended,
            custom_ioloop=self._loop,
        )

    def _run(self) -> None:
        silence_here()
        try:
            self._loop.start()
        except Exception as error:
            _log.exception("the I/O thread of %s ended", self._name)
            failure = StreamproofError(f"the I/O thread of {self._name} ended: {error!r}")
            failure.__cause__ = error
            self.error = failure
            self._is_closing = True
            self._lose(failure)
        finally:
            for connection in (self._connecting, *self._leaving):
                if connection is not None:
                    connection.shut()
            self._loop.close()
            with self._changed:
                self._changed.notify_all()

    def _opened(self, opened: Any) -> None:
        connection: Connection = opened
        if connection is not self._connecting:
            connection.abort()
            return
        self._connecting = None
        self.version = version_of(connection.server_properties)
        with self._changed:
            self.connection, self.error = connection, None
            self._changed.notify_all()
        if self._backoff.failures:
            _log.info("%s: connected to RabbitMQ at %s again", self._name, self.where)
        self._on_up(connection)

    def _failed(self, connection: Any, error: BaseException | str) -> None:
        self._leaving.discard(connection)
        if connection is self._connecting:
            self._connecting = None
            self._connect_failed(error if isinstance(error, BaseException) else Exception(error))
        self._stop_if_done()

    def _connect_failed(self, reason: BaseException) -> None:
        failure = connection_error(reason, self.where)
        pause_s = self._backoff.fail(time.monotonic())
        with self._changed:
            if self._backoff.failures >= len(self._endpoint.hosts):
                self.error = failure
                self._changed.notify_all()
        self._connect_after(pause_s)

    def _ended(self, connection: Any, error: BaseException) -> None:
        self._leaving.discard(connection)
        if connection is self.connection:
            failure = lost(f"at {self.where}", brief(error))
            failure.__cause__ = error
            self._lose(failure)
        self._stop_if_done()

    def _broke(self, error: Exception) -> None:
        """A callback failed. Nobody knows what it left undone, so nothing of the connection stays."""
        if self._is_closing:
            _log.debug("%s: a callback failed while it was closed", self._name, exc_info=error)
            self._loop.stop()
            return
        _log.error("%s: a callback failed", self._name, exc_info=error)
        connecting, self._connecting = self._connecting, None
        if self.connection is not None:
            failure = lost(f"at {self.where}", f"given up because of {error!r}")
            failure.__cause__ = error
            self._lose(failure)
        elif connecting is not None:
            self._give_up(connecting)
            self._connect_failed(error)
        elif self._pause is None:
            self._connect_after(self._backoff.fail(time.monotonic()))

    def _lose(self, error: StreamproofError) -> None:
        connection = self.connection
        if connection is None:
            return
        with self._changed:
            self.connection = None
            self._changed.notify_all()
        if not self._is_closing:
            _log.warning("%s: %s", self._name, error)
        for dependant in self._give_up(connection):
            self._tell(dependant.lost, error)
        self._tell(self._on_down, error)
        self._connect_after(self._backoff.fail(time.monotonic()))

    def _tell(self, listener: Callable[[StreamproofError], None], error: StreamproofError) -> None:
        try:
            listener(error)
        except Exception:
            # The others have to be told all the same, and the connection is lost already.
            _log.exception("%s: it could not be told that the connection was lost", self._name)

    def _give_up(self, connection: Connection) -> list[Any]:
        """Hear nothing more of it; it takes leave by itself, within a bound."""
        dependants = connection.give_up()
        if connection.is_closed:
            return dependants
        self._leaving.add(connection)
        try:
            connection.leave()
        except Exception:
            _log.debug("%s: the connection cannot take leave", self._name, exc_info=True)
            connection.abort()
        self.later(_LEAVE_S, lambda: self._abort(connection))
        return dependants

    def _abort(self, connection: Connection) -> None:
        if connection in self._leaving:
            connection.abort()

    def _connect_after(self, pause_s: float) -> None:
        if not self._is_closing and self._may_connect():
            self._pause = self.later(pause_s, self.connect)

    def _begin_close(self) -> None:
        self._is_closing = True
        if self._pause is not None:
            self.forget(self._pause)
        for connection in list(self._leaving):
            connection.abort()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            self._leaving.add(connecting)
            connecting.abort()
        self._lose(Closed(f"the connection to {self.where} was closed"))
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._is_closing and not self._leaving:
            self._loop.stop()


def left_s(deadline_s: float) -> float:
    """Seconds until a deadline of ``time.monotonic``, 0 if it passed."""
    return max(0.0, deadline_s - time.monotonic())
