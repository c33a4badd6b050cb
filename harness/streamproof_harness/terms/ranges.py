"""Ranges: which part of a log its readers had to see.

A reader's range begins at the ``positions`` of its `assign`; without them at the first offset it
polled if it opened with ``reset`` latest or after a `seek`; else at 0. A `seek` ends the stretch
that was being read where it stood, and begins another: what a program jumps over by its own seek
is nobody's loss.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from streamproof_harness.history.codes import Array, Ints

ENDLESS = 2**62
"""The end of a stretch that was being read to the last."""


@dataclass(slots=True)
class Reader:
    """What is known of one process' reading of one log.

    `begins`: index and offset of each assignment that named a position. `seeks`: index and target.
    `polls`: for each record its poll's completion and its offset, as they came.
    """

    is_latest: bool = False
    begins: list[tuple[int, int]] = field(default_factory=list)
    seeks: list[tuple[int, int]] = field(default_factory=list)
    at: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    offset: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def stretches(self) -> list[tuple[int, int]]:
        """The stretches ``(first offset, offset after the last)`` that this reader had to see."""
        cuts = [index for index, _ in self.seeks]
        bounds = [-1, *cuts, ENDLESS]
        targets: list[int | None] = [None, *(target for _, target in self.seeks)]
        result = []
        for number, target in enumerate(targets):
            since, until = bounds[number], bounds[number + 1]
            polled = self.offset[np.searchsorted(self.at, since) : np.searchsorted(self.at, until)]
            named = [offset for index, offset in self.begins if since <= index < until]
            begin = self._begin(target, named, polled, is_last=until == ENDLESS)
            if begin is not None:
                # Cut short by a seek, a stretch reaches as far as it was read.
                end = ENDLESS if until == ENDLESS else int(polled.max(initial=-1)) + 1
                result.append((begin, end))
        return result

    def _begin(self, target: int | None, named: list[int], polled: Ints, is_last: bool) -> int | None:
        if target is None and named:
            return min(named)
        if target is None and not self.is_latest:
            return 0
        if len(polled):
            return min([*named, int(polled[0])])
        return min([*named, target]) if target is not None and is_last else None


class Ranges:
    """The union of all readers' ranges, log by log.

    `stretches`: pairs of a log and a stretch of it. `trimmed`: for each trimmed log the highest
    first offset that a `trim` named.
    """

    def __init__(
        self,
        count_of_logs: int,
        stretches: Iterable[tuple[int, tuple[int, int]]],
        trimmed: dict[int, int],
    ) -> None:
        by_log: dict[int, list[tuple[int, int]]] = {}
        for log, stretch in stretches:
            by_log.setdefault(log, []).append(stretch)
        self.trimmed = trimmed
        self._first = np.full(count_of_logs, ENDLESS, np.int64)
        self._stop = np.full(count_of_logs, ENDLESS, np.int64)
        self._least = np.zeros(count_of_logs, np.int64)
        self._in_pieces: dict[int, tuple[Ints, Ints]] = {}
        for log, spans in by_log.items():
            starts, stops = _united(spans)
            self._first[log], self._stop[log] = starts[0], stops[-1]
            if len(starts) > 1:
                self._in_pieces[log] = starts, stops
        for log, first in trimmed.items():
            self._least[log] = first

    def holds(self, log: Ints, offset: Ints) -> Array:
        """Whether each record was some reader's to see, and is not trimmed.

        Where the offset is not known (-1): whether that is certain of the whole log.
        """
        first, stop = self._first[log], self._stop[log]
        answer: Array = (offset >= first) & (offset < stop) & (offset >= self._least[log])
        unknown = offset < 0
        if unknown.any():
            is_whole = (first == 0) & (stop == ENDLESS) & (self._least[log] == 0)
            answer |= unknown & is_whole
        for number, (starts, stops) in self._in_pieces.items():
            rows = np.flatnonzero(log == number)
            at = np.searchsorted(starts, offset[rows], side="right") - 1
            answer[rows] &= (at >= 0) & (offset[rows] < stops[np.maximum(at, 0)])
        return answer


def _united(spans: list[tuple[int, int]]) -> tuple[Ints, Ints]:
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
