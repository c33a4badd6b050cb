"""Which process held which log when, and where it was told to begin reading."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from streamproof_harness.history import Event
from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.history.tables import RareCall
from streamproof_harness.terms.positions import Logs


@dataclass(frozen=True, slots=True)
class Begin:
    """An `assign` said that a process reads a log from an offset on."""

    process: int
    log: int
    offset: int
    index: int


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The reading of one log by one process ended at an event, which is named by its index."""

    process: int
    log: int
    index: int


@dataclass(slots=True)
class Assignments:
    """The assignments of all processes.

    `assigned`: by process, whether it ever had an `assign`. `spans`: for each process and log the
    event indexes from when to when it was held. `ends`: where holding a log ended. `begins`: the
    positions that assignments named. `named`: each process' `assign` notes, and the logs in them.
    """

    assigned: Array
    spans: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)
    ends: list[SessionEnd] = field(default_factory=list)
    begins: list[Begin] = field(default_factory=list)
    named: dict[int, list[tuple[int, frozenset[int]]]] = field(default_factory=dict)

    def held(self, process: Ints, log: Ints, first: Ints, last: Ints) -> Array:
        """Whether the process held the log at any event from `first` to `last` (row by row).

        A process without any `assign` is never unassigned.
        """
        answer = ~self.assigned[process]
        judged = np.flatnonzero(~answer)
        if not len(judged):
            return answer
        width = 1 + int(log.max(initial=0))
        pair = process[judged] * np.int64(width) + log[judged]
        order = np.argsort(pair, kind="stable")
        ranked = pair[order]
        cuts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]]))
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            rows = judged[order[start:stop]]
            spans = self.spans.get((int(process[rows[0]]), int(log[rows[0]])))
            if spans:
                starts = np.array([span[0] for span in spans])
                stops = np.array([span[1] for span in spans])
                at = np.searchsorted(starts, last[rows], side="right") - 1
                answer[rows] = (at >= 0) & (stops[np.maximum(at, 0)] >= first[rows])
        return answer


def assignments_of(
    notes: list[Event], closes: list[RareCall], processes: dict[str, int], logs: Logs, never: int
) -> Assignments:
    """Follow `assign`, `revoke`, `lost` and the events that end everything a process holds.

    `never`: an index after all events, the end of what is still held.
    """
    result = Assignments(np.zeros(len(processes), np.bool_))
    held: dict[int, dict[int, int]] = {}
    for index, process_name, event in _timeline(notes, closes):
        process = processes[process_name]
        mine = held.setdefault(process, {})
        named = _named_logs(event, logs)
        if event is not None and event.op == "assign":
            gone = set(mine) - named
            result.assigned[process] = True
            result.named.setdefault(process, []).append((index, frozenset(named)))
            for log in named:
                mine.setdefault(log, index)
            result.begins += [
                Begin(process, logs.find(place.topic, place.partition), place.offset, index)
                for place in event.positions or []
            ]
        else:
            # What a revoke or lost names has ended, held or not as far as this history knows.
            gone = set(mine) if event is None else named
        for log in gone:
            if log in mine:
                result.spans.setdefault((process, log), []).append((mine.pop(log), index))
            result.ends.append(SessionEnd(process, log, index))
    for process, mine in held.items():
        for log, start in mine.items():
            result.spans.setdefault((process, log), []).append((start, never))
    return result


def _named_logs(event: Event | None, logs: Logs) -> set[int]:
    if event is None or not isinstance(event.partitions, list):
        return set()
    return {logs.find(log.topic, log.partition) for log in event.partitions}


def _timeline(notes: list[Event], closes: list[RareCall]) -> Iterator[tuple[int, str, Event | None]]:
    """The events that change what a process holds; None: everything it holds is gone."""
    changes: list[tuple[int, str, Event | None]] = []
    for note in notes:
        if note.op in ("assign", "revoke", "lost"):
            changes.append((note.index, note.process, note))
        elif note.op in ("crash", "open"):
            changes.append((note.index, note.process, None))
    changes += [(close.done.index, close.invoked.process, None) for close in closes if close.done is not None]
    yield from sorted(changes, key=lambda change: change[0])
