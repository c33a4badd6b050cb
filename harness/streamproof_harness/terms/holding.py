"""How long a process keeps a log without interruption."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import FAIL, Ints
from streamproof_harness.terms.order import numbered

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


class Holding:
    """Where a process' hold of a log is interrupted: it loses it, crashes, closes or opens."""

    def __init__(self, terms: Terms) -> None:
        self._of_log: dict[tuple[int, int], list[int]] = {}
        for end in terms.assignments.ends:
            self._of_log.setdefault((end.process, end.log), []).append(end.index)
        self._of_process: dict[int, list[int]] = {}
        for note in terms.history.notes:
            if note.op in ("crash", "open"):
                self._of_process.setdefault(terms.processes[note.process], []).append(note.index)
        for close in terms.history.calls_of.get("close", ()):
            if close.outcome != FAIL:
                index = close.ended_at(close.begun_at)
                self._of_process.setdefault(terms.processes[close.invoked.process], []).append(index)
        self._known: dict[tuple[int, int], Ints] = {}

    def interruptions(self, process: int, log: int) -> Ints:
        """Event indexes, rising."""
        name = process, log
        if name not in self._known:
            own = [*self._of_log.get(name, ()), *self._of_process.get(process, ())]
            self._known[name] = np.array(sorted(own), np.int64)
        return self._known[name]

    def is_kept(self, process: int, log: int, first: int, last: int) -> bool:
        """Whether nothing interrupts the hold after the event `first` and up to `last`."""
        ends = self.interruptions(process, log)
        return bool(np.searchsorted(ends, first, "right") == np.searchsorted(ends, last, "right"))


def stretch_numbers(terms: Terms, process: Ints, log: Ints, index: Ints) -> Ints:
    """For each row how often the process' hold of the log had been interrupted before an event."""
    numbers = np.zeros(len(process), np.int64)
    pair = numbered(process, log)
    order = np.argsort(pair, kind="stable")
    for start, stop in pairwise(np.flatnonzero(np.diff(pair[order], prepend=-1, append=-1)).tolist()):
        rows = order[start:stop]
        ends = terms.holding.interruptions(int(process[rows[0]]), int(log[rows[0]]))
        numbers[rows] = np.searchsorted(ends, index[rows])
    return numbers


def seeks_before(terms: Terms, group: Ints, log: Ints, index: Ints) -> Ints:
    """For each row how often members of the group had sought in the log before an event."""
    numbers = np.zeros(len(group), np.int64)
    for (sought_group, sought_log), at in _seeks(terms).items():
        rows = np.flatnonzero((group == sought_group) & (log == sought_log))
        numbers[rows] = np.searchsorted(at, index[rows])
    return numbers


def _seeks(terms: Terms) -> dict[tuple[int, int], Ints]:
    seeks: dict[tuple[int, int], list[int]] = {}
    for call in terms.history.calls_of.get("seek", ()):
        if call.outcome == FAIL:
            continue
        groups = terms.groups_of_process.get(terms.processes[call.invoked.process], set())
        for place in call.invoked.offsets or []:
            for group in groups:
                log = terms.logs.find(place.topic, place.partition)
                seeks.setdefault((group, log), []).append(call.begun_at)
    return {name: np.array(sorted(at), np.int64) for name, at in seeks.items()}
