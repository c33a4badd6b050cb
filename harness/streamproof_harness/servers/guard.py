"""The near end of the :mod:`watchdog`: starts it, and asks it to do things."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamproof_harness.servers.availability import ServerError

ANSWER_BOUND_S = 60.0
END_BOUND_S = 60.0
POLL_S = 0.01

# The broker's own process among those of a watchdog; the others serve it.
BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start: its whole environment is ``env``, nothing is inherited."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)


class Guard:
    """One watchdog, its directory, and the processes it owns for us.

    Everything here blocks for a bounded time and may be called from any thread. When this object's
    process ends in whatever way, so do the processes, unless :meth:`detach` was called.
    """

    def __init__(self, prefix: str) -> None:
        near, far = socket.socketpair()
        self._control = near
        self._control.settimeout(ANSWER_BOUND_S)
        self._replies = near.makefile("rb")
        self._lock = threading.Lock()
        self._is_ended = False
        script = str(Path(__file__).with_name("watchdog.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(far.fileno()), str(os.getpid()), prefix],
            pass_fds=[far.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # A session of its own: Ctrl-C in a terminal goes to the foreground group, not to brokers.
            start_new_session=True,
        )
        far.close()
        self.directory = Path(self._receive()["directory"])

    @property
    def pid(self) -> int:
        """The watchdog's process id."""
        return self._process.pid

    def log(self, name: str = BROKER) -> Path:
        """The file with the output of a named process."""
        return self.directory / f"{name}.log"

    def start(self, name: str, command: Command) -> int:
        """Start a process, its output appended to :meth:`log`; returns its process id."""
        request = {"do": "start", "name": name, "argv": list(command.argv), "env": dict(command.env)}
        answer = self._ask(request | {"cwd": str(self.directory), "log": str(self.log(name))})
        return int(answer["pid"])

    def run(self, name: str, command: Command, timeout_s: float) -> None:
        """Start a process and wait for its end; :class:`ServerError` unless it exits with 0."""
        self.start(name, command)
        if not self.wait(name, timeout_s):
            raise ServerError(f"{command.argv[0]} took longer than {timeout_s:g} s\n{self.tail(name)}")
        status = self._ask({"do": "alive", "name": name})["status"]
        if status != 0:
            raise ServerError(f"{command.argv[0]} ended with exit status {status}\n{self.tail(name)}")

    def signal(self, number: signal.Signals, name: str = BROKER) -> bool:
        """Signal a process and everything below it; false if it had ended before."""
        return bool(self._ask({"do": "signal", "name": name, "signal": int(number)})["signalled"])

    def is_alive(self, name: str = BROKER) -> bool:
        """The named process was started and has not ended."""
        return not self._is_ended and bool(self._ask({"do": "alive", "name": name})["alive"])

    def wait(self, name: str, timeout_s: float) -> bool:
        """Wait until the named process has ended; false if the time passed before that."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def at_end(self, argv: Sequence[str]) -> None:
        """Run this command before everything is killed, whoever or whatever brings the end."""
        self._ask({"do": "cleanup", "argv": list(argv)})

    def detach(self, kept_by: str | None) -> None:
        """Let it outlive this process: until SIGTERM to :attr:`pid`, or the end of ``kept_by``."""
        with self._lock:
            self._request({"do": "detach", "name": kept_by})
            self._is_ended = True
            self._replies.close()
            self._control.close()
        # It is nobody's child to wait for any more; Popen must not complain about that.
        self._process.returncode = 0

    def end(self) -> None:
        """Kill all its processes, remove the directory; on return nothing is left."""
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
            # It may be gone already, or hang: the wait below tells which.
            with contextlib.suppress(ServerError):
                self._request({"do": "end"})
            self._replies.close()
            self._control.close()
        try:
            self._process.wait(END_BOUND_S)
        except subprocess.TimeoutExpired:
            raise ServerError(
                f"the watchdog {self.pid} did not end within {END_BOUND_S:g} s: kill it and its children"
            ) from None

    def tail(self, name: str = BROKER, lines: int = 30) -> str:
        """The last lines of a process's output."""
        return tail(self.log(name), lines)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._is_ended:
                raise ServerError("this server was stopped: start another one")
            return self._request(request)

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._control.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise ServerError(f"the watchdog {self.pid} is gone: {error}") from error
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._replies.readline()
        except OSError as error:
            raise ServerError(f"the watchdog {self.pid} did not answer: {error}") from error
        if not line:
            raise ServerError(f"the watchdog {self.pid} ended by itself")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ServerError(f"the watchdog could not do it: {answer['error']}")
        return answer


def tail(path: Path, lines: int) -> str:
    """The last ``lines`` of a text file, read from its end; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 400 * lines))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
