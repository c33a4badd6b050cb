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
from pika.adapters.select_connection import IOLoop
from pika.exceptions import AuthenticationError, ConnectionClosed

from streamproof.drivers.rabbitmq.errors import NOT_ALLOWED, lost, reply_error
from streamproof.drivers.rabbitmq.topology import Endpoint, version_of
from streamproof.drivers.rabbitmq.wire import FrameScanner
from streamproof.errors import AccessDenied, Closed, StreamproofError, TimedOut, Unreachable

_log = logging.getLogger("streamproof.rabbitmq")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_WELL_S = 2.0
"""A connection that lasted so long is made again at once."""


class Connection(pika.SelectConnection):
    """A pika connection whose deliveries and confirms are read without an object a frame."""

    def __init__(self, parameters: pika.ConnectionParameters, **callbacks: Any) -> None:
        self.scanner = FrameScanner(super()._on_data_available)
        super().__init__(parameters, **callbacks)

    def _on_data_available(self, data_in: bytes) -> None:
        self.scanner.feed(data_in)
        # pika's heartbeat check looks at this count.
        self.bytes_received += self.scanner.bytes_taken
        self.scanner.bytes_taken = 0

    def emit(self, frames: bytes) -> None:
        """Write whole frames that were put together elsewhere."""
        self.bytes_sent += len(frames)
        self._adapter_emit_data(frames)


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
        found = Unreachable(f"no connection to RabbitMQ at {where}: {_brief(error)}; is it running there?")
    found.__cause__ = error
    return found


def _reasons(error: BaseException) -> list[BaseException]:
    """The error and those that pika wrapped in it, from outside in."""
    found = [error]
    for reason in found:
        inner = [*reason.args, *getattr(reason, "exceptions", ()), getattr(reason, "exception", None)]
        found.extend(item for item in inner if isinstance(item, BaseException) and item not in found)
    return found


def _brief(error: BaseException) -> str:
    innermost = _reasons(error)[-1]
    return str(innermost) or type(innermost).__name__


class Link:
    """The connection, kept up until ``close``. ``on_up`` and ``on_down`` run on its thread.

    While ``may_connect`` says no, a lost connection is not made again (``wake`` does
    that).
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
        self._attempts = 0
        self._opened_s = 0.0
        self._connecting: Connection | None = None
        self._pause: object | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._loop: Any = IOLoop()
        self._thread = threading.Thread(target=self._run, name=f"streamproof-{name}", daemon=True)

    @property
    def where(self) -> str:
        """The address, fit for errors and logs."""
        return self._endpoint.redacted

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

    def later(self, delay_s: float, function: Callable[[], None]) -> object:
        """Run ``function`` after that time; on the I/O thread only. Returns a handle to ``forget``."""
        handle: object = self._loop.call_later(delay_s, function)
        return handle

    def forget(self, handle: object) -> None:
        """Do not run what ``later`` planned."""
        self._loop.remove_timeout(handle)

    def drop(self) -> None:
        """End this connection as if it were lost; on the I/O thread only."""
        connection = self.connection
        if connection is not None and connection.is_open:
            connection.close()

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
        host, port = self._endpoint.hosts[self._attempts % len(self._endpoint.hosts)]
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
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._ended,
            custom_ioloop=self._loop,
        )

    def _run(self) -> None:
        try:
            self._loop.start()
        except Exception as error:
            if self._is_closing:
                # pika trips over its own feet when it is closed while it connects.
                return
            _log.exception("the I/O thread of %s broke", self._name)
            failure = StreamproofError(f"the I/O thread of {self._name} broke: {error!r}")
            failure.__cause__ = error
            self.error = failure
            self._went_down(failure)
        finally:
            self._loop.close()
            with self._changed:
                self._changed.notify_all()

    def _opened(self, connection: Any) -> None:
        self._connecting = None
        if self._is_closing:
            connection.close()
            return
        self._opened_s = time.monotonic()
        self.version = version_of(connection.server_properties)
        with self._changed:
            self.connection, self.error = connection, None
            self._changed.notify_all()
        self._on_up(connection)

    def _failed(self, _: Any, error: BaseException | str) -> None:
        self._connecting = None
        reason = error if isinstance(error, BaseException) else Exception(error)
        failure = connection_error(reason, self.where)
        self._attempts += 1
        with self._changed:
            if self._attempts >= len(self._endpoint.hosts):
                self.error = failure
                self._changed.notify_all()
        if self._is_closing:
            self._loop.stop()
            return
        self._connect_later()

    def _ended(self, _: Any, error: BaseException) -> None:
        if self._is_closing:
            self._went_down(Closed("closed"))
            self._loop.stop()
            return
        failure = lost(f"at {self.where}", _brief(error))
        failure.__cause__ = error
        _log.warning("%s: %s", self._name, failure)
        # A server that is not well yet takes connections, and ends them soon.
        was_well = time.monotonic() - self._opened_s > _WELL_S
        self._attempts = 0 if was_well else self._attempts + len(self._endpoint.hosts)
        self._went_down(failure)
        self._connect_later()

    def _went_down(self, error: StreamproofError) -> None:
        was_up = self.connection is not None
        with self._changed:
            self.connection = None
            self._changed.notify_all()
        if was_up:
            self._on_down(error)

    def _connect_later(self) -> None:
        if self._may_connect():
            tries = max(0, self._attempts - len(self._endpoint.hosts) + 1)
            pause_s = 0.0 if not self._attempts else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**tries)
            self._pause = self.later(pause_s, self.connect)

    def _begin_close(self) -> None:
        self._is_closing = True
        if self._pause is not None:
            self.forget(self._pause)
        if self.connection is not None:
            if self.connection.is_open:
                self.connection.close()
        elif self._connecting is not None:
            self._connecting.close()
        else:
            self._loop.stop()


def left_s(deadline_s: float) -> float:
    """Seconds until a deadline of ``time.monotonic``, 0 if it passed."""
    return max(0.0, deadline_s - time.monotonic())
