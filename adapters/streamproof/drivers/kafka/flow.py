"""What a consumer holds back: paused logs, and records that came up at the wrong moment."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from streamproof.records import RawRecord, TopicPartition


class Flow:
    """Which logs are paused. Wishes come from any thread; the polling thread carries them out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes: list[tuple[bool, TopicPartition]] = []
        self.paused: frozenset[TopicPartition] = frozenset()

    @property
    def has_wishes(self) -> bool:
        """Whether there is something to carry out."""
        return bool(self._wishes)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Hold these logs back from now on."""
        with self._lock:
            chosen = [partition for partition in partitions if partition not in self.paused]
            self.paused = self.paused.union(chosen)
            self._wishes.extend((True, partition) for partition in chosen)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let these logs go on."""
        with self._lock:
            chosen = [partition for partition in partitions if partition in self.paused]
            self.paused = self.paused.difference(chosen)
            self._wishes.extend((False, partition) for partition in chosen)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These logs went; when they come again they are not paused."""
        with self._lock:
            gone = frozenset(partitions)
            self.paused -= gone
            self._wishes = [wish for wish in self._wishes if wish[1] not in gone]

    def take_wishes(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """The logs to pause and those to resume, each as it was wished last."""
        with self._lock:
            wishes, self._wishes = self._wishes, []
        last = {partition: is_pause for is_pause, partition in wishes}
        return [log for log, paused in last.items() if paused], [
            log for log, paused in last.items() if not paused
        ]


class KeptRecords:
    """Records that came up while something else was waited for, in their order."""

    def __init__(self) -> None:
        self._records: deque[RawRecord] = deque()

    def __bool__(self) -> bool:
        return bool(self._records)

    def keep(self, records: Sequence[RawRecord]) -> None:
        """Put these behind the others."""
        self._records.extend(records)

    def take(self, max_records: int, paused: frozenset[TopicPartition]) -> list[RawRecord]:
        """The first records of logs that are not paused."""
        taken: list[RawRecord] = []
        kept: deque[RawRecord] = deque()
        for record in self._records:
            is_held_back = len(taken) >= max_records or record.topic_partition in paused
            (kept if is_held_back else taken).append(record)
        self._records = kept
        return taken

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of these logs."""
        gone = frozenset(partitions)
        self._records = deque(record for record in self._records if record.topic_partition not in gone)

    def first_offset(self, partition: TopicPartition) -> int | None:
        """Where the kept records of a log begin."""
        offsets = (record.offset for record in self._records if record.topic_partition == partition)
        return next(offsets, None)
