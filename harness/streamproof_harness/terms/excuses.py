"""Excuses for a repeated delivery: a session end in the group's log, or a fault that was on."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from streamproof_harness.history import Event
from streamproof_harness.history.codes import Array, Ints


class Excuses:
    """Answers whether something excuses a delivery that came after another.

    `ends`: for a group and a log the event indexes, rising, at which any session of that log in
    that group ended.
    """

    def __init__(self, ends: dict[tuple[int, int], Ints], faults: tuple[Ints, Ints]) -> None:
        self._ends = ends
        self._fault_starts, self._fault_stops = faults

    def between(self, group: Ints, log: Ints, first: Ints, last: Ints) -> Array:
        """Row by row: whether an excuse lies between the events `first` and `last`."""
        answer = self.fault_on(first, last)
        if not self._ends or not len(group):
            return answer
        lane = group * (int(log.max(initial=0)) + 1) + log
        order = np.argsort(lane, kind="stable")
        for start, stop in pairwise(np.flatnonzero(np.diff(lane[order], prepend=-1, append=-1)).tolist()):
            rows = order[start:stop]
            ends = self._ends.get((int(group[rows[0]]), int(log[rows[0]])))
            if ends is not None:
                before = np.searchsorted(ends, first[rows], side="right")
                answer[rows] |= np.searchsorted(ends, last[rows]) > before
        return answer

    def fault_on(self, first: Ints, last: Ints) -> Array:
        """Whether a fault was on at any event from `first` to `last`."""
        if not len(self._fault_starts):
            return np.zeros(len(first), np.bool_)
        at = np.searchsorted(self._fault_starts, last, side="right") - 1
        return (at >= 0) & (self._fault_stops[np.maximum(at, 0)] >= first)


def fault_spans(notes: Sequence[Event], never: int) -> tuple[Ints, Ints]:
    """When some fault was on: starts and stops, rising and apart. A fault never stopped stays on."""
    running: dict[Any, list[int]] = {}
    spans: list[tuple[int, int]] = []
    for note in notes:
        name = (note.fault, msgspec.json.encode(note.target))
        if note.phase == "start":
            running.setdefault(name, []).append(note.index)
        elif running.get(name):
            spans.append((running[name].pop(), note.index))
    spans += [(start, never) for starts in running.values() for start in starts]
    merged: list[list[int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return (
        np.array([span[0] for span in merged], np.int64),
        np.array([span[1] for span in merged], np.int64),
    )
