"""The process that owns a broker's processes, so that none of them outlives the one who asked.

Run as a script of its own (standard library only, nothing imported from the package), with
``watchdog.py CONTROL_FD PARENT_PID DIRECTORY_PREFIX``. It makes a directory for the broker, starts
processes on request, and answers one JSON line for each JSON line on the control socket. When that
socket closes, or the parent is gone for whatever reason (``kill -9`` included), or on SIGTERM, it
runs the clean-up commands, kills every descendant, removes the directory, and exits.

It finds descendants that changed their session or became daemons (Erlang's ``epmd`` and
``inet_gethost`` do), because it is their *subreaper*: an orphan below it becomes its child
(prctl(2), PR_SET_CHILD_SUBREAPER). Should the watchdog itself be killed, the kernel kills its
direct children (PR_SET_PDEATHSIG).

Requests: ``start`` (name, argv, env, cwd, log), ``signal`` (name, signal), ``alive`` (name),
``cleanup`` (argv to run at the end), ``detach`` (from now on only SIGTERM ends it, or, if one is
named, the end of that process), ``end``.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_CHECK_S = 0.5
KILL_BOUND_S = 15.0
CLEANUP_BOUND_S = 30.0
LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2); an old kernel that lacks the option is no reason to stop."""
    LIBC.prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """Every process of the system and its parent."""
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with (
                contextlib.suppress(OSError, IndexError, ValueError),
                open(f"/proc/{entry}/stat", "rb") as stat,
            ):
                # The name in parentheses may hold anything, so read from the last one on.
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    found[int(entry)] = int(parent)
    return found


def descendants(root: int) -> list[int]:
    """Live processes below ``root``, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


class Watchdog:
    """The processes of one broker, by name, and the directory they live in."""

    def __init__(self, control: socket.socket, parent: int, prefix: str) -> None:
        self.control = control
        self.parent = parent
        self.directory = tempfile.mkdtemp(prefix=prefix)
        self.started: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        self.cleanups: list[list[str]] = []
        self.is_detached = False
        self.kept_by: str | None = None
        self.is_ending = False

    def serve(self, wakeup: socket.socket) -> None:
        """Answer requests until there is a reason to end, then leave nothing behind."""
        try:
            self.answer({"directory": self.directory})
            buffered = b""
            while not self.is_ending:
                waited = [wakeup] if self.is_detached else [wakeup, self.control]
                ready, _, _ = select.select(waited, [], [], PARENT_CHECK_S)
                if wakeup in ready:
                    wakeup.recv(4096)
                self.reap()
                if self.control in ready:
                    received = self.control.recv(65536)
                    *lines, buffered = (buffered + received).split(b"\n")
                    for line in lines:
                        self.answer(self.handle(json.loads(line)))
                    self.is_ending |= not received
                self.is_ending |= self.is_abandoned()
        finally:
            self.leave_nothing()

    def is_abandoned(self) -> bool:
        """Nobody is left for whom to go on."""
        if self.is_detached:
            return self.kept_by is not None and not self.is_alive(self.kept_by)
        # A fork of the parent may hold the control socket open: so look for the parent as well.
        return os.getppid() != self.parent

    def answer(self, message: dict[str, Any]) -> None:
        """Send one line; a parent that is gone is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request says; failures go back as ``error``."""
        try:
            return self.perform(request)
        except (OSError, KeyError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def perform(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; raises when it cannot be done."""
        match request["do"]:
            case "start":
                return {"pid": self.start(request)}
            case "signal":
                return {"signalled": self.send_signal(request["name"], request["signal"])}
            case "alive":
                pid = self.started[request["name"]]
                return {"alive": self.is_alive(request["name"]), "status": self.statuses.get(pid)}
            case "cleanup":
                self.cleanups.append(request["argv"])
            case "detach":
                self.is_detached, self.kept_by = True, request["name"]
            case "end":
                self.leave_nothing()
                self.is_ending = True
            case other:
                raise ValueError(f"no request {other!r}")
        return {"done": True}

    def start(self, request: dict[str, Any]) -> int:
        """Start a process whose output is appended to ``log``."""
        with open(request["log"], "ab") as log:
            process = subprocess.Popen(
                request["argv"],
                env=request["env"],
                cwd=request["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        # Reaped in reap(), with the adopted ones; Popen must not try it a second time.
        process.returncode = 0
        self.started[request["name"]] = process.pid
        self.statuses.pop(process.pid, None)
        return process.pid

    def send_signal(self, name: str, number: int) -> list[int]:
        """Signal a process and all below it; returns whom."""
        root = self.started[name]
        if not self.is_alive(name):
            return []
        signalled = [root, *descendants(root)]
        for pid in signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return signalled

    def is_alive(self, name: str) -> bool:
        """The named process has not ended."""
        self.reap()
        return self.started[name] not in self.statuses

    def reap(self) -> bool:
        """Collect every child that ended, adopted ones too; true while there are others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.statuses[pid] = os.waitstatus_to_exitcode(status)

    def leave_nothing(self) -> None:
        """Run the clean-ups, kill all descendants, remove the directory. Doing it twice is harmless."""
        while self.cleanups:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    self.cleanups.pop(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=CLEANUP_BOUND_S,
                )
        deadline = time.monotonic() + KILL_BOUND_S
        # Until there is no child to wait for: a zombie's other threads may still hold its ports.
        while self.reap() and time.monotonic() < deadline:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        shutil.rmtree(self.directory, ignore_errors=True)


def main() -> None:
    """Take the control socket over, and serve it."""
    control_fd, parent, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wakeup_writer = socket.socketpair()
    wakeup_writer.setblocking(False)
    signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
    watchdog = Watchdog(socket.socket(fileno=control_fd), parent, prefix)
    # Its own failures are to be found in the broker's directory.
    with open(os.path.join(watchdog.directory, "watchdog.log"), "ab") as own_log:
        os.dup2(own_log.fileno(), 2)

    def end(_number: int, _frame: object) -> None:
        watchdog.is_ending = True

    signal.signal(signal.SIGTERM, end)
    # Handlers that do nothing, not SIG_IGN: that one the broker's processes would inherit.
    for ignored in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, lambda _number, _frame: None)
    watchdog.serve(wakeup)


if __name__ == "__main__":
    main()
