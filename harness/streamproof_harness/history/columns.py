"""The decoded history: what the checks run on.

Every table is a set of arrays of equal length. ``invoked`` and ``completed`` hold event indexes
(-1: never completed), and rows stand in the order of invocation, records in the order in which
their polls completed. Everything here is read only.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from streamproof_harness.history import Event, Header
from streamproof_harness.history.codes import ABSENT, Array, Ints
from streamproof_harness.history.decoding import Part
from streamproof_harness.history.joining import Join, join_calls, require_unique_ids, require_unique_txns
from streamproof_harness.history.tables import Handles, Polls, RareCall, Records, Sends, Sparse


class History:
    """A whole history in columns. `line_of(n)` reads line n (0: the header) of the input again.

    `size`: bytes of the input.
    """

    def __init__(
        self, header: Header, parts: Sequence[Part], line_of: Callable[[int], bytes], size: int = 0
    ) -> None:
        self.header = header
        self.size = size
        self.line_of = line_of
        join = Join(parts)
        self.events = join.events
        self.names = join.names()
        self.time: Ints = join.column("time")
        self.kind: Array = join.column("kind", np.uint8)
        self.process: Array = join.interned("process", "processes")
        self.calls = join_calls(self.kind, self.process, join.column("call"))
        self._call_of = np.full(self.events, -1, np.int64)
        self._call_of[self.calls.invoked] = np.arange(len(self.calls.invoked))
        self._note_completions()
        self.sends = self._sends(join)
        self.polls = self._polls(join)
        self.records = self._records(join)
        self.handles = self._handles(join)
        self.notes, self.rare_calls = self._rare(join.rare)
        require_unique_ids(self.sends.id, self.sends.invoked, lambda at: str(self.event(at)["id"]))
        require_unique_txns(self.rare_calls)

    def event(self, index: int) -> dict[str, Any]:
        """The event as it stands in the file, with all fields."""
        event: dict[str, Any] = msgspec.json.decode(self.line_of(index + 1))
        return event

    @cached_property
    def calls_of(self) -> dict[str, list[RareCall]]:
        """The rare calls by operation, in the order of invocation."""
        by_op: dict[str, list[RareCall]] = {}
        for call in self.rare_calls:
            by_op.setdefault(call.invoked.op, []).append(call)
        return by_op

    @cached_property
    def notes_of(self) -> dict[str, list[Event]]:
        """The notes by operation, in order."""
        by_op: dict[str, list[Event]] = {}
        for note in self.notes:
            by_op.setdefault(note.op, []).append(note)
        return by_op

    def _note_completions(self) -> None:
        calls = self.calls
        done = calls.completed >= 0
        self._call_of[calls.completed[done]] = np.flatnonzero(done)
        self._call_of[calls.again] = calls.again_of

    def _sends(self, join: Join) -> Sends:
        at = join.column("sent.at")
        call = self._call_of[at]
        count = len(at)
        row_of_call = np.full(len(self.calls.op), -1, np.int64)
        row_of_call[call] = np.arange(count)
        partition = np.full(count, -1, np.int64)
        offset = np.full(count, -1, np.int64)
        for name in ("unsure", "acked"):
            ended = join.column(f"{name}.at")
            ending = self._call_of[ended]
            first = self.calls.completed[ending] == ended
            rows = row_of_call[ending[first]]
            partition[rows] = join.column(f"{name}.partition")[first]
            offset[rows] = join.column(f"{name}.offset")[first]
        return Sends(
            invoked=at,
            completed=self.calls.completed[call],
            outcome=self.calls.outcome[call],
            process=self.process[at],
            topic=join.interned("sent.topic", "topics"),
            id=join.column("sent.id"),
            key=join.column("sent.key"),
            seq=join.column("sent.seq"),
            crc=join.column("sent.crc"),
            partition=partition,
            offset=offset,
            chosen=join.sparse("sent.chosen"),
            txn=Sparse(join.shifted("sent.txn.rows"), join.interned("sent.txn", "txns")),
            due=join.sparse("sent.due"),
            not_before=join.sparse("sent.not_before"),
            expires=join.sparse("sent.expires"),
            amount=join.sparse("sent.amount"),
            derived=join.sparse("sent.from"),
        )

    def _polls(self, join: Join) -> Polls:
        at = join.column("polled.at")
        call = self._call_of[at]
        return Polls(
            invoked=at,
            completed=self.calls.completed[call],
            outcome=self.calls.outcome[call],
            process=self.process[at],
            group=join.interned("polled.group", "groups"),
            txn=join.interned("polled.txn", "txns"),
            uncommitted=join.column("polled.uncommitted", np.bool_),
        )

    def _records(self, join: Join) -> Records:
        """The records of each poll's first completion, in the order of completion."""
        at = join.column("received.at")
        counts = join.column("received.count")
        call = self._call_of[at]
        row_of_call = np.full(len(self.calls.op), -1, np.int64)
        row_of_call[self._call_of[self.polls.invoked]] = np.arange(len(self.polls.invoked))
        poll = np.repeat(row_of_call[call], counts)
        first = np.repeat(self.calls.completed[call] == at, counts)
        starts = np.cumsum(counts) - counts
        ordinal = np.arange(len(poll)) - np.repeat(starts, counts)
        columns = {
            "poll": poll,
            "ordinal": ordinal,
            "topic": join.interned("records.topic", "topics"),
            **{name: join.column(f"records.{name}") for name in ("partition", "offset", "id", "crc", "key")},
        }
        if not first.all():
            columns = {name: column[first] for name, column in columns.items()}
        return Records(**columns)

    def _handles(self, join: Join) -> Handles:
        at = join.column("handled.at")
        call = self._call_of[at]
        count = len(at)
        row_of_call = np.full(len(self.calls.op), -1, np.int64)
        row_of_call[call] = np.arange(count)
        ended = join.column("settled.at")
        ending = self._call_of[ended]
        first = self.calls.completed[ending] == ended
        rows = row_of_call[ending[first]]
        effect = np.full(count, ABSENT, np.int64)
        amount = np.full(count, ABSENT, np.int64)
        error = np.full(count, -1, np.int64)
        effect[rows] = join.column("settled.effect")[first]
        amount[rows] = join.column("settled.amount")[first]
        errors = join.interned("settled.error", "errors")
        error[rows] = errors[first]
        return Handles(
            op=self.kind[at] & 31,
            invoked=at,
            completed=self.calls.completed[call],
            outcome=self.calls.outcome[call],
            process=self.process[at],
            group=join.interned("handled.group", "groups"),
            topic=join.interned("handled.topic", "topics"),
            partition=join.column("handled.partition"),
            offset=join.column("handled.offset"),
            id=join.column("handled.id"),
            attempt=join.column("handled.attempt"),
            to=join.interned("handled.to", "topics"),
            delay=join.column("handled.delay"),
            effect=effect,
            amount=amount,
            error=error,
        )

    def _rare(self, events: list[Event]) -> tuple[list[Event], list[RareCall]]:
        notes: list[Event] = []
        calls: list[RareCall] = []
        completions = {
            int(self._call_of[e.index]): e
            for e in events
            if e.type not in ("invoke", "note") and self.calls.completed[self._call_of[e.index]] == e.index
        }
        for event in events:
            if event.type == "note":
                notes.append(event)
            elif event.type == "invoke":
                call = int(self._call_of[event.index])
                calls.append(RareCall(event, completions.get(call), int(self.calls.outcome[call])))
        return notes, calls
