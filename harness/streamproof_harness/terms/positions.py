"""Logs, and the positions of records in them.

A *log* is one topic partition; its number here is `Logs.ids`. A *place* is one number for a log
and an offset together: equal for equal ones, rising with the offset within a log. *Positions* are
dense ranks of offsets among those that are known (control records leave gaps), so how many known
records stand between two places is a difference of running counts over the places.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamproof_harness.history.codes import Array, Ints

_SPARE: Final = 1 << 20
_DENSE: Final = 4
"""Places are dense, one for each offset, while there are at most this many for each known record."""


class Logs:
    """Numbers for topic partitions. `topics`: all topic names, those of the columns first."""

    def __init__(self, topics: Sequence[str], pairs: Sequence[tuple[Array, Ints]]) -> None:
        self.topics = tuple(topics)
        self.topic_number = {topic: number for number, topic in enumerate(self.topics)}
        self.width = 1 + max((int(partition.max()) for _, partition in pairs if len(partition)), default=0)
        self._packed: Ints | None = None
        rows = sum(len(partition) for _, partition in pairs)
        self.count = len(self.topics) * self.width
        if self.count > _DENSE * rows + _SPARE:
            packed = [topic * self.width + partition for topic, partition in pairs]
            self._packed = np.unique(np.concatenate(packed))
            self.count = len(self._packed)

    def ids(self, topic: Array, partition: Ints) -> Ints:
        """The log of each pair; -1 where the partition is not known (-1)."""
        packed = topic * np.int64(self.width) + partition
        if self._packed is not None:
            packed = np.searchsorted(self._packed, packed)
        if len(partition) and partition.min() < 0:
            return np.where(partition < 0, -1, packed)
        return packed

    def find(self, topic: str, partition: int) -> int:
        """The number of one log; -1 if nothing in the history concerns it."""
        number = self.topic_number.get(topic)
        if number is None or partition >= self.width:
            return -1
        packed = number * self.width + partition
        if self._packed is None:
            return packed
        at = int(np.searchsorted(self._packed, packed))
        return at if at < len(self._packed) and self._packed[at] == packed else -1

    def topic_of(self, log: Ints) -> Ints:
        """The topic number of each log."""
        return (log if self._packed is None else self._packed[log]) // self.width

    def name(self, log: int) -> str:
        """How a log is shown to people: ``topic/partition``."""
        packed = log if self._packed is None else int(self._packed[log])
        return f"{self.topics[packed // self.width]}/{packed % self.width}"


class Places:
    """Places of the offsets that occur in a history: ``of(log, offset)``."""

    def __init__(self, count_of_logs: int, entries: Sequence[tuple[Ints, Ints]]) -> None:
        least = np.full(count_of_logs, 2**62, np.int64)
        most = np.full(count_of_logs, -1, np.int64)
        for log, offset in entries:
            np.minimum.at(least, log, offset)
            np.maximum.at(most, log, offset)
        extent = np.where(most >= 0, most - least + 1, 0)
        known = sum(len(log) for log, _ in entries)
        self._least, self._most = least, most
        self._ranked: Ints | None = None
        # In Python's integers: the extents of sparse offsets may exceed 64 bits together.
        if sum(map(int, extent)) <= _DENSE * known + _SPARE:
            ends = np.cumsum(extent)
            self._shift = ends - extent - np.where(most >= 0, least, 0)
            self.count = int(ends[-1]) if len(ends) else 0
            return
        logs = np.concatenate([log for log, _ in entries])
        offsets = np.concatenate([offset for _, offset in entries])
        order = np.lexsort((offsets, logs))
        logs, offsets = logs[order], offsets[order]
        fresh = np.ones(len(logs), np.bool_)
        fresh[1:] = (logs[1:] != logs[:-1]) | (offsets[1:] != offsets[:-1])
        self._ranked = offsets[fresh]
        self._log_starts = np.searchsorted(logs[fresh], np.arange(count_of_logs + 1))
        self.count = len(self._ranked)

    def of(self, log: Ints, offset: Ints) -> Ints:
        """Places of offsets that occur; -1 where log or offset is -1."""
        known = (log >= 0) & (offset >= 0)
        if known.all():
            return self._of(log, offset)
        places = np.full(len(log), -1, np.int64)
        places[known] = self._of(log[known], offset[known])
        return places

    def _of(self, log: Ints, offset: Ints) -> Ints:
        if self._ranked is None:
            return self._shift[log] + offset
        places = np.empty(len(log), np.int64)
        order = np.argsort(log, kind="stable")
        cuts = np.flatnonzero(np.diff(log[order], prepend=-1, append=-1))
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            rows = order[start:stop]
            first, last = self._log_starts[log[rows[0]] : log[rows[0]] + 2]
            places[rows] = first + np.searchsorted(self._ranked[first:last], offset[rows])
        return places

    def first_at(self, log: int, offset: int) -> int:
        """The place of the first offset in the log at or above this one; it need not occur.

        Beyond the last, the place after the log's last. 0 for a log without known offsets.
        """
        return int(self.firsts_at(log, np.array([offset]))[0])

    def firsts_at(self, log: int, offsets: Ints) -> Ints:
        """`first_at` of several offsets of one log."""
        if self._most[log] < 0:
            return np.zeros(len(offsets), np.int64)
        if self._ranked is None:
            within = np.clip(offsets, int(self._least[log]), int(self._most[log]) + 1)
            places: Ints = within + int(self._shift[log])
            return places
        start, stop = int(self._log_starts[log]), int(self._log_starts[log + 1])
        ranks: Ints = np.searchsorted(self._ranked[start:stop], offsets)
        return ranks + start
