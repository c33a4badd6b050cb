"""Many records on their way into a topic, column by column: what ``send_many`` costs a record is
decided here.

The work is done for the whole batch at a time wherever Python has a loop of its own for it, and
what cannot be told before the cluster is locked (offsets, the time) is filled in last.
"""

from collections.abc import Callable, Sequence
from itertools import count, repeat

from streamproof.core.batch import RECORD_OVERHEAD, record_size
from streamproof.core.partitioner import partitions_for
from streamproof.core.topics import Topic
from streamproof.records import RawOutgoing, RawRecord, Record

_ANY = -1

_Adders = dict[int, Callable[[RawRecord], None]]


class Columns:
    """One ``send_many``, not empty. ``fits`` says that every record can be stored: no partition
    that is not there, none too large. Otherwise the records are looked at one by one."""

    __slots__ = ("_keys", "_odd", "_records", "_sizes", "fits", "keyless", "partitions", "topic")

    def __init__(self, records: Sequence[RawOutgoing], topic: Topic) -> None:
        self.topic = topic
        self._records = records
        self._keys = [record.key for record in records]
        self._odd = [
            record
            for record in records
            if record.headers or record.partition is not None or record.timestamp_ms is not None
        ]
        self._sizes = self._measure()
        largest = self._sizes if isinstance(self._sizes, int) else max(self._sizes)
        self.fits = largest <= topic.largest_record
        self.partitions = partitions_for(self._keys, len(topic.logs))
        if any(record.partition is not None for record in self._odd):
            self._place_chosen()
        self.keyless = self.partitions.count(_ANY)

    def _measure(self) -> int | list[int]:
        """What each record counts for; one number if that is the same for all."""
        records = self._records
        try:
            value_lengths = {len(record.value) for record in records}  # type: ignore[arg-type]
            key_lengths = set(map(len, self._keys))  # type: ignore[arg-type]
        except TypeError:  # some are None
            return [record_size(record.key, record.value, record.headers) for record in records]
        if len(key_lengths) == 1 and len(value_lengths) == 1 and not self._odd:
            return RECORD_OVERHEAD + key_lengths.pop() + value_lengths.pop()
        return [record_size(record.key, record.value, record.headers) for record in records]

    def _place_chosen(self) -> None:
        partitions = self.partitions
        for index, record in enumerate(self._records):
            if record.partition is not None:
                partitions[index] = record.partition
                self.fits = self.fits and 0 <= record.partition < len(self.topic.logs)

    def place_keyless(self, turn: int) -> None:
        """Give the records without key or partition to one partition after the other."""
        if self.keyless:
            partitions = self.partitions
            for index, partition in enumerate(partitions):
                if partition == _ANY:
                    turn += 1
                    partitions[index] = turn % len(self.topic.logs)

    def times(self, now_ms: int) -> int | list[int]:
        """The timestamps: one for all, or one a record."""
        if any(record.timestamp_ms is not None for record in self._odd):
            return [
                now_ms if record.timestamp_ms is None else record.timestamp_ms for record in self._records
            ]
        return now_ms

    def records(self, bases: dict[int, int], times: int | list[int]) -> dict[int, list[RawRecord]]:
        """The records of each partition, with offsets that run on from its base."""
        name = self.topic.name
        stamps = repeat(times) if isinstance(times, int) else times
        if len(bases) == 1:
            ((partition, base),) = bases.items()
            return {
                partition: [
                    Record(name, partition, offset, key, outgoing.value, stamp, outgoing.headers)
                    for offset, key, outgoing, stamp in zip(
                        count(base), self._keys, self._records, stamps, strict=False
                    )
                ]
            }
        found: dict[int, list[RawRecord]] = {partition: [] for partition in bases}
        # A list is faster to look into than a dictionary, unless most of it would stay unused.
        ends: dict[int, int] | list[int] = dict(bases)
        add: _Adders | list[Callable[[RawRecord], None]] = {at: found[at].append for at in bases}
        if len(self.topic.logs) <= 4 * len(bases):
            span = range(len(self.topic.logs))
            ends = [bases.get(partition, 0) for partition in span]
            add = [found.get(partition, []).append for partition in span]
        for partition, key, outgoing, stamp in zip(
            self.partitions, self._keys, self._records, stamps, strict=False
        ):
            offset = ends[partition]
            ends[partition] = offset + 1
            add[partition](Record(name, partition, offset, key, outgoing.value, stamp, outgoing.headers))
        return found

    def sizes(self, counts: dict[int, int]) -> dict[int, int]:
        """The bytes that go to each partition, which gets so many records."""
        sizes = self._sizes
        if isinstance(sizes, int):
            return {partition: many * sizes for partition, many in counts.items()}
        totals = dict.fromkeys(counts, 0)
        for partition, size in zip(self.partitions, sizes, strict=True):
            totals[partition] += size
        return totals
