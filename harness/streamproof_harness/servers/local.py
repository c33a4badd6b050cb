"""A broker or database that runs as processes of this machine, owned by a watchdog."""

import signal
import time
from types import TracebackType
from typing import Protocol, Self

from streamproof_harness.servers.availability import Availability, Database, Kind, ServerError
from streamproof_harness.servers.guard import BROKER, Guard
from streamproof_harness.servers.ports import Ports
from streamproof_harness.servers.probe import NotReady

PROBE_BOUND_S = 2.0
PROBE_EVERY_S = 0.05
KILL_BOUND_S = 15.0


class Node(Protocol):
    """The recipe for one broker; it keeps its ports from start to start."""

    ports: Ports

    @property
    def kind(self) -> Kind | Database: ...

    @property
    def url(self) -> str: ...

    @property
    def stream_port(self) -> int | None: ...

    def prepare(self, guard: Guard, timeout_s: float) -> None:
        """Done once, before the first start."""
        ...

    def start(self, guard: Guard) -> None:
        """Start the process named ``broker``."""
        ...

    def probe(self, timeout_s: float) -> None:
        """Raise :class:`NotReady` unless clients can work."""
        ...


class LocalServer:
    """A started broker. Leaving its ``with`` block, or the end of this process, ends it and removes its data.

    One thread at a time calls it. Every method blocks until what it names is true, for a bounded
    time, and raises :class:`ServerError` (with the log's last lines) if it does not come true.
    """

    def __init__(self, node: Node, how: Availability, timeout_s: float) -> None:
        self.how = how
        self._node = node
        self._timeout_s = timeout_s
        self._guard = Guard(f"streamproof-{node.kind}-")
        self._is_paused = False
        try:
            deadline = time.monotonic() + timeout_s
            node.prepare(self._guard, timeout_s)
            node.start(self._guard)
            self._wait_ready(deadline)
        except BaseException:
            self.stop()
            raise

    @property
    def kind(self) -> Kind | Database:
        """Which broker or database it is."""
        return self._node.kind

    @property
    def url(self) -> str:
        """Where clients connect; the same for the whole life, restarts included."""
        return self._node.url

    @property
    def stream_port(self) -> int | None:
        """RabbitMQ's port for the stream protocol; none for Kafka."""
        return self._node.stream_port

    @property
    def guard(self) -> Guard:
        """The owner of its processes."""
        return self._guard

    def is_running(self) -> bool:
        """Its process has not ended (it may be paused)."""
        return self._guard.is_alive()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or said to clients. Data and ports stay for :meth:`restart`."""
        self._guard.signal(signal.SIGKILL)
        if not self._guard.wait(BROKER, KILL_BOUND_S):
            raise ServerError(f"{self.kind} outlived SIGKILL by {KILL_BOUND_S:g} s")
        self._is_paused = False

    def restart(self, timeout_s: float | None = None) -> None:
        """Stop it in an orderly way if it runs, and start it on the same data and ports.

        Returns when it is ready again: after :meth:`kill` that includes its recovery.
        """
        bound_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + bound_s
        self.resume()
        self._guard.signal(signal.SIGTERM)
        if not self._guard.wait(BROKER, bound_s):
            raise ServerError(f"{self.kind} did not stop within {bound_s:g} s\n{self.logs()}")
        self._node.start(self._guard)
        self._wait_ready(deadline)

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing, as a machine that hangs."""
        self._guard.signal(signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        """SIGCONT: it goes on after :meth:`pause`. Without one, nothing happens."""
        if self._is_paused:
            self._guard.signal(signal.SIGCONT)
            self._is_paused = False

    def logs(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return self._guard.tail(lines=lines)

    def stop(self) -> None:
        """End it at once, remove its data. Nothing is left; a second call does nothing."""
        self._guard.end()
        self._node.ports.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_ready(self, deadline: float) -> None:
        reason = "it was not asked yet"
        while time.monotonic() < deadline:
            if not self._guard.is_alive():
                raise ServerError(f"{self.kind} ended while it started\n{self.logs()}")
            try:
                self._node.probe(min(PROBE_BOUND_S, max(0.1, deadline - time.monotonic())))
            except NotReady as not_yet:
                reason = str(not_yet)
                time.sleep(PROBE_EVERY_S)
            else:
                return
        raise ServerError(f"{self.kind} was not ready in time: {reason}\n{self.logs()}")
