"""What the processes of a run report to the one that conducts it, besides the history.

In the conductor's own process the report is a call (:class:`Findings`); from another process it
comes as JSON lines through a pipe (:class:`PipedFindings` writes, :func:`replay` reads).
"""

import base64
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import IO, Any, Protocol

import msgspec

from streamproof_harness.clients.identity import MARKER, is_marker, root_of


class Reporter(Protocol):
    """Where a process reports to. Every method may be called from any thread."""

    def assigned(self, member: str, logs: int) -> None:
        """The member holds this many logs now."""
        ...

    def pending(self, member: str, records: int) -> None:
        """The member holds this many records that are not acknowledged."""
        ...

    def polled(self, member: str, records: int) -> None:
        """A poll brought records."""
        ...

    def handled(self, group: str, member: str, id: str, key: bytes | None, value: bytes | None) -> None:
        """A handler is done with a record."""
        ...

    def buried(self, group: str, id: str) -> None:
        """A record went to the dead letters."""
        ...

    def failed(self, member: str, error: str) -> None:
        """The process ended with an error that it did not expect."""
        ...

    def struck(self, process: str) -> None:
        """A mutant did its harm in this process."""
        ...

    def hanging(self, member: str) -> None:
        """The process is about to hang, as planned."""
        ...

    def fenced(self, member: str, error: str) -> None:
        """Another producer took over its transactional id, and the process ended."""
        ...


class Findings:
    """Everything reported so far. ``on_handled`` is called for each handled record of a workload."""

    def __init__(self, on_handled: Callable[[str, str, bytes | None, bytes | None], None]) -> None:
        self._lock = threading.Lock()
        self._on_handled = on_handled
        self.logs: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}
        self.polls: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.marks: dict[str, set[str]] = {}
        self.errors: list[str] = []
        self.unsent: list[str] = []
        self.fenced_members: list[str] = []
        self.hanging_members: list[str] = []
        self.strikes = 0
        self.acknowledged = 0
        self.unsettled = 0
        self.sent = 0

    def assigned(self, member: str, logs: int) -> None:
        with self._lock:
            self.logs[member] = logs

    def pending(self, member: str, records: int) -> None:
        with self._lock:
            self.in_flight[member] = records

    def polled(self, member: str, records: int) -> None:
        with self._lock:
            self.polls[member] += records

    def handled(self, group: str, member: str, id: str, key: bytes | None, value: bytes | None) -> None:
        with self._lock:
            if is_marker(id):
                self.marks.setdefault(group, set()).add(root_of(id))
                return
            self.counts[group] += 1
            if member != group:
                self.counts[member] += 1
            self._on_handled(group, root_of(id), key, value)

    def buried(self, group: str, id: str) -> None:
        with self._lock:
            self.dead[group] += 1

    def failed(self, member: str, error: str) -> None:
        with self._lock:
            self.errors.append(f"{member}: {error}")

    def struck(self, process: str) -> None:
        with self._lock:
            self.strikes += 1

    def hanging(self, member: str) -> None:
        with self._lock:
            self.hanging_members.append(member)

    def fenced(self, member: str, error: str) -> None:
        with self._lock:
            self.fenced_members.append(member)

    def settled(self, is_acknowledged: bool) -> None:
        """A send that was under way got its outcome."""
        with self._lock:
            self.unsettled -= 1
            self.acknowledged += is_acknowledged

    def sending(self) -> None:
        """A send is under way."""
        with self._lock:
            self.sent += 1
            self.unsettled += 1

    def abandoned(self, id: str) -> None:
        """A message certainly was not stored and is not sent again."""
        with self._lock:
            self.unsent.append(id)

    def has_marks(self, group: str, ids: set[str]) -> bool:
        """Whether the group handled all of these end marks."""
        with self._lock:
            return ids <= self.marks.get(group, set())


def mark_id(round_number: int, topic: str, partition: int) -> str:
    """The id of one log's end mark."""
    return f"{MARKER}{round_number}/{topic}/{partition}"


class _Line(msgspec.Struct, array_like=True):
    kind: str
    who: str
    what: Any = None
    id: str = ""
    key: str | None = None
    value: str | None = None


class PipedFindings:
    """Reports through a pipe, a line at a time: what was reported before a SIGKILL arrives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def assigned(self, member: str, logs: int) -> None:
        self._write(_Line("assigned", member, logs))

    def pending(self, member: str, records: int) -> None:
        self._write(_Line("pending", member, records))

    def polled(self, member: str, records: int) -> None:
        self._write(_Line("polled", member, records))

    def handled(self, group: str, member: str, id: str, key: bytes | None, value: bytes | None) -> None:
        self._write(_Line("handled", group, member, id, _text(key), _text(value)))

    def buried(self, group: str, id: str) -> None:
        self._write(_Line("buried", group, id=id))

    def failed(self, member: str, error: str) -> None:
        self._write(_Line("failed", member, error))

    def struck(self, process: str) -> None:
        self._write(_Line("struck", process))

    def hanging(self, member: str) -> None:
        self._write(_Line("hanging", member))

    def fenced(self, member: str, error: str) -> None:
        self._write(_Line("fenced", member, error))

    def _write(self, line: _Line) -> None:
        view = memoryview(msgspec.json.encode(line) + b"\n")
        with self._lock:
            while view:
                view = view[os.write(self._descriptor, view) :]


def replay(pipe: IO[bytes], reporter: Reporter) -> None:
    """Report what another process wrote, until it closes its end; a cut last line is left out."""
    decode = msgspec.json.Decoder(_Line).decode
    for raw in pipe:
        if not raw.endswith(b"\n"):
            return
        line = decode(raw)
        match line.kind:
            case "assigned":
                reporter.assigned(line.who, line.what)
            case "pending":
                reporter.pending(line.who, line.what)
            case "polled":
                reporter.polled(line.who, line.what)
            case "handled":
                reporter.handled(line.who, line.what, line.id, _bytes(line.key), _bytes(line.value))
            case "buried":
                reporter.buried(line.who, line.id)
            case "struck":
                reporter.struck(line.who)
            case "hanging":
                reporter.hanging(line.who)
            case "fenced":
                reporter.fenced(line.who, str(line.what))
            case _:
                reporter.failed(line.who, str(line.what))


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
