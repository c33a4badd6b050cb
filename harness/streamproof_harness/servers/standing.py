"""Brokers that stay up between commands: ``streamproof up`` and ``down``.

Each is kept by a detached watchdog; a file in the user's runtime directory remembers which.
"""

import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from streamproof_harness.servers.availability import KINDS, Kind, ServerError
from streamproof_harness.servers.container import ContainerServer
from streamproof_harness.servers.guard import BROKER
from streamproof_harness.servers.local import LocalServer
from streamproof_harness.servers.opening import start

DOWN_BOUND_S = 60.0
POLL_S = 0.02


class Standing(msgspec.Struct, frozen=True):
    """A broker that was left running. ``pid`` is its watchdog, ``started`` that process' start time
    in clock ticks since boot, so that a later process with the same id is not mistaken for it."""

    kind: Kind
    how: str
    url: str
    stream_port: int | None
    pid: int
    started: int
    directory: str

    @property
    def log(self) -> Path:
        """The broker's log file, while it runs as a local process."""
        return Path(self.directory) / f"{BROKER}.log"

    def is_up(self) -> bool:
        """Its watchdog is still that process."""
        return _start_time(self.pid) == self.started


def standing() -> tuple[Standing, ...]:
    """The brokers that are up now."""
    try:
        text = _state_file().read_bytes()
    except FileNotFoundError:
        return ()
    try:
        entries = msgspec.json.decode(text, type=tuple[Standing, ...])
    except msgspec.DecodeError as error:
        raise ServerError(f"{_state_file()} cannot be read: {error}; remove it") from error
    return tuple(entry for entry in entries if entry.is_up())


def up(kinds: Sequence[Kind] = KINDS) -> tuple[Standing, ...]:
    """Start the brokers of these kinds that are not up, leave them running, and return them all.

    Blocks until they are ready. When one fails, :class:`ServerError` is raised and those before it
    stay up, to be ended by :func:`down`.
    """
    with _locked():
        entries = list(standing())
        for kind in kinds:
            if all(entry.kind != kind for entry in entries):
                entries.append(_left_running(kind))
                _write(entries)
        return tuple(entry for entry in entries if entry.kind in kinds)


def down() -> tuple[Standing, ...]:
    """End all brokers that :func:`up` left running and remove their data; returns which these were."""
    with _locked():
        ended = standing()
        for entry in ended:
            _end(entry)
        _state_file().unlink(missing_ok=True)
        return ended


def _left_running(kind: Kind) -> Standing:
    server = start(kind, private=True)
    if not isinstance(server, LocalServer | ContainerServer):
        raise ServerError(f"{server.url} was given, not started")
    guard = server.guard
    entry = Standing(
        kind=kind,
        how=str(server.how),
        url=server.url,
        stream_port=server.stream_port,
        pid=guard.pid,
        started=_start_time(guard.pid),
        directory=str(guard.directory),
    )
    guard.detach(kept_by=BROKER if isinstance(server, LocalServer) else None)
    return entry


def _end(entry: Standing) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(entry.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_BOUND_S
    while entry.is_up():
        if time.monotonic() > deadline:
            raise ServerError(
                f"the watchdog {entry.pid} of {entry.kind} did not end within {DOWN_BOUND_S:g} s"
            )
        time.sleep(POLL_S)


def _start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 if it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])


def _runtime_directory() -> Path:
    """``$XDG_RUNTIME_DIR/streamproof``, else a directory of the user's under the temporary one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    directory = (
        Path(runtime) / "streamproof"
        if runtime
        else Path(tempfile.gettempdir()) / f"streamproof-{os.getuid()}"
    )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise ServerError(f"{directory} belongs to another user: set XDG_RUNTIME_DIR to a directory of yours")
    return directory


def _state_file() -> Path:
    return _runtime_directory() / "servers.json"


def _write(entries: Sequence[Standing]) -> None:
    new = _state_file().with_suffix(".new")
    new.write_bytes(msgspec.json.encode(entries))
    new.replace(_state_file())


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One ``up`` or ``down`` at a time."""
    with (_runtime_directory() / "servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
