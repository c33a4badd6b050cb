"""The log against a plain list that is walked from end to end for every question."""

import struct
import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamproof.core.batch import BATCH_OVERHEAD, NO_PRODUCER, ProducerStamp, WireBatch, record_size
from streamproof.core.log import AbortedTransaction, PartitionLog
from streamproof.core.producer_errors import InvalidProducerEpoch, OutOfOrderSequence
from streamproof.errors import OffsetOutOfRange
from streamproof.records import RawRecord, Record, TopicPartition

NAME = TopicPartition("readings", 3)


def make_record(offset: int, timestamp_ms: int = 0, value: bytes | None = b"value") -> RawRecord:
    return Record(NAME.topic, NAME.partition, offset, b"key", value, timestamp_ms, (("name", b"content"),))


def write(log: PartitionLog, *timestamps: int, producer: ProducerStamp | None = None) -> list[RawRecord]:
    records = [make_record(log.end_offset + index, time) for index, time in enumerate(timestamps)]
    size = sum(record_size(record.key, record.value, record.headers) for record in records)
    stamp = () if producer is None else (producer,)
    log.append(list(records), size, max(timestamps), *stamp)
    return records


def make_payload(name: int, times: list[int], stamp: ProducerStamp = NO_PRODUCER) -> bytes:
    """What the log needs of a record batch: a header, and a body to keep."""
    attributes = 0x10 if stamp.is_transactional else 0
    body = b"%04d" % name
    return (
        struct.pack(
            ">qiiBIhiqq",
            77,
            49 + len(body),
            88,
            2,
            0xC0FFEE,
            attributes,
            len(times) - 1,
            times[0],
            max(times),
        )
        + struct.pack(">qhii", stamp.producer_id, stamp.epoch, stamp.sequence, len(times))
        + body
    )


class Entry:
    """What the model keeps for one offset."""

    def __init__(self, record: RawRecord | None, unit: object, size: int, time: int, producer: int | None):
        self.record = record
        self.unit = unit
        self.size = size
        self.time = time
        self.producer = producer
        self.is_aborted = False


class LogAgainstList(RuleBasedStateMachine):
    """``entries[offset]`` for every offset ever; the model searches it linearly."""

    @initialize(
        retention_ms=st.sampled_from([None, 40, 0]), retention_bytes=st.sampled_from([None, 0, 150, 400])
    )
    def begin(self, retention_ms: int | None, retention_bytes: int | None) -> None:
        self.log = PartitionLog(NAME, retention_ms, retention_bytes, self.decode)
        self.entries: list[Entry] = []
        self.start = 0
        self.open: dict[int, int] = {}
        self.aborted: list[tuple[int, int, int]] = []
        self.payloads: dict[bytes, list[int]] = {}
        self.sequences: dict[int, int] = {}

    def decode(self, batch: WireBatch) -> list[RawRecord]:
        assert int.from_bytes(batch.payload[:8], "big") == batch.base_offset
        times = self.payloads[batch.payload[BATCH_OVERHEAD:]]
        return [make_record(batch.base_offset + index, time) for index, time in enumerate(times)]

    def stamp(self, producer: int | None, is_transactional: bool, count: int) -> ProducerStamp | None:
        if producer is None:
            return None
        sequence = self.sequences.get(producer, 0)
        self.sequences[producer] = sequence + count
        if is_transactional or producer in self.open:
            self.open.setdefault(producer, len(self.entries))
            return ProducerStamp(producer, 0, sequence, True)
        return ProducerStamp(producer, 0, sequence)

    times = st.lists(st.integers(0, 100), min_size=1, max_size=6)
    producers = st.sampled_from([None, None, 1, 2])

    @rule(times=times, producer=producers, is_transactional=st.booleans())
    def append(self, times: list[int], producer: int | None, is_transactional: bool) -> None:
        stamp = self.stamp(producer, is_transactional, len(times))
        for record in write(self.log, *times, producer=stamp):
            size = record_size(record.key, record.value, record.headers)
            self.entries.append(Entry(record, object(), size, record.timestamp_ms, producer))

    @rule(time=st.integers(0, 100))
    def append_one(self, time: int) -> None:
        record = make_record(len(self.entries), time)
        size = record_size(record.key, record.value, record.headers)
        self.log.append_one(record, size)
        self.entries.append(Entry(record, object(), size, time, None))

    @rule(times=times, producer=producers, is_transactional=st.booleans())
    def append_payload(self, times: list[int], producer: int | None, is_transactional: bool) -> None:
        stamp = self.stamp(producer, is_transactional, len(times)) or NO_PRODUCER
        payload = make_payload(len(self.payloads), times, stamp)
        self.payloads[payload[BATCH_OVERHEAD:]] = times
        base = self.log.append_payload(payload)
        assert base == len(self.entries)
        for index, time in enumerate(times):
            record = make_record(base + index, time)
            self.entries.append(Entry(record, payload, len(payload), max(times), producer))

    @rule(producer=st.sampled_from([1, 2]), is_commit=st.booleans(), time=st.integers(0, 100))
    def end_transaction(self, producer: int, is_commit: bool, time: int) -> None:
        first = self.open.pop(producer, None)
        for entry in self.entries[first:] if first is not None and not is_commit else ():
            entry.is_aborted |= entry.producer == producer and entry.record is not None
        offset = self.log.end_transaction(producer, 0, is_commit, time)
        assert offset == len(self.entries)
        if first is not None and not is_commit:
            self.aborted.append((producer, first, offset))
        self.entries.append(Entry(None, object(), 0, time, producer))

    @rule(share=st.floats(0, 1))
    def trim(self, share: float) -> None:
        before = int(share * len(self.entries))
        self.log.trim(before)
        self.start = max(self.start, before)

    @rule(now=st.integers(0, 150))
    def retain(self, now: int) -> None:
        self.log.retain(now)
        live = self.units()
        start = self.start
        if self.log.retention_ms is not None:
            for offsets in live:
                if self.entries[offsets[0]].time >= now - self.log.retention_ms:
                    break
                start = offsets[-1] + 1
        if self.log.retention_bytes is not None:
            excess = sum(self.entries[offsets[0]].size for offsets in live) - self.log.retention_bytes
            for offsets in live if excess > 0 else ():
                excess -= self.entries[offsets[0]].size
                if excess < 0:
                    break
                start = max(start, offsets[-1] + 1)
        self.start = start

    def units(self) -> list[list[int]]:
        """Live offsets, together where they can only go together."""
        units: list[list[int]] = []
        for offset in range(self.start, len(self.entries)):
            if units and self.entries[units[-1][-1]].unit is self.entries[offset].unit:
                units[-1].append(offset)
            else:
                units.append([offset])
        return units

    def readable(self, start: int, is_committed: bool) -> list[RawRecord]:
        end = self.log.last_stable_offset if is_committed else len(self.entries)
        return [
            entry.record
            for entry in self.entries[start:end]
            if entry.record is not None and not (is_committed and entry.is_aborted)
        ]

    @invariant()
    def ends_agree(self) -> None:
        assert self.log.start_offset == self.start
        assert self.log.end_offset == self.log.high_watermark == len(self.entries)
        stable = min(self.open.values(), default=len(self.entries))
        assert self.log.last_stable_offset == max(self.start, stable)
        assert self.log.size == sum(self.entries[offsets[0]].size for offsets in self.units())

    @rule(share=st.floats(0, 1), limit=st.integers(1, 12), is_committed=st.booleans())
    def read(self, share: float, limit: int, is_committed: bool) -> None:
        offset = self.start + int(share * (len(self.entries) - self.start))
        expected = self.readable(offset, is_committed)
        found: list[RawRecord] = []
        end = self.log.readable_end(is_committed)
        for _ in range(len(self.entries) + 1):
            records, following = self.log.read(offset, limit, is_committed)
            assert len(records) <= limit
            assert following > offset or offset >= end
            found += records
            offset = following
            if offset >= end:
                break
        assert found == expected

    @rule(first=st.integers(0, 40), width=st.integers(0, 20))
    def look_for_aborted(self, first: int, width: int) -> None:
        expected = [
            aborted
            for aborted in self.aborted
            if aborted[2] >= max(first, self.start) and aborted[1] < first + width
        ]
        found = self.log.aborted_between(first, first + width)
        assert [aborted[:3] for aborted in found] == expected

    @rule(time=st.integers(-1, 101), is_committed=st.booleans())
    def find(self, time: int, is_committed: bool) -> None:
        readable = self.readable(self.start, is_committed)
        expected = next((record for record in readable if record.timestamp_ms >= time), None)
        assert self.log.find(time, is_committed) == expected


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_long_log_reads_the_same_from_every_offset() -> None:
    log = PartitionLog(NAME)
    for _ in range(400):
        write(log, *range(7))
    for offset in range(0, 2800, 13):
        records, following = log.read(offset, 50)
        expected = list(range(offset, min(offset + 50, 2800)))
        assert [record.offset for record in records] == expected
        assert following == expected[-1] + 1


def test_small_appends_share_batches_and_large_ones_do_not_grow_without_end() -> None:
    log = PartitionLog(NAME)
    for _ in range(3000):
        write(log, 1)
    spans = [(batch.base_offset, batch.end_offset) for batch in log.batches(0)]
    assert 2 < len(spans) < 6
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


def test_a_producer_s_batch_grows_only_with_its_own_next_sequence() -> None:
    log = PartitionLog(NAME)
    write(log, 1, 1, producer=ProducerStamp(7, 0, 0))
    write(log, 1, producer=ProducerStamp(7, 0, 2))
    assert len(list(log.batches(0))) == 1
    write(log, 1, producer=ProducerStamp(7, 0, 99))
    write(log, 1, producer=ProducerStamp(7, 1, 3))
    write(log, 1)
    assert [batch.base_offset for batch in log.batches(0)] == [0, 3, 4, 5]


@pytest.mark.parametrize("offset", [1, 6])
def test_reading_outside_tells_where_the_log_begins(offset: int) -> None:
    log = PartitionLog(NAME)
    write(log, 1, 2, 3, 4, 5)
    log.trim(2)
    with pytest.raises(OffsetOutOfRange, match=r"readings\[3\].*2 to 4") as refused:
        log.read(offset, 10)
    assert refused.value.log_start == 2


def test_trimming_beyond_the_end_is_refused_and_changes_nothing() -> None:
    log = PartitionLog(NAME)
    write(log, 1, 2)
    with pytest.raises(OffsetOutOfRange):
        log.trim(3)
    assert (log.start_offset, log.end_offset) == (0, 2)


def test_watchers_hear_of_appends_markers_and_deletion() -> None:
    log = PartitionLog(NAME)
    heard: list[tuple[int, bool]] = []

    class Ear:
        def on_append(self, log: PartitionLog) -> None:
            heard.append((log.end_offset, log.is_deleted))

    log.watchers.append(Ear())
    write(log, 1, 1)
    log.append_payload(make_payload(1, [1, 1]))
    log.end_transaction(5, 0, True, 1)
    log.delete()
    assert heard == [(2, False), (4, False), (5, False), (5, True)]


def test_a_marker_tells_whose_transaction_it_ends() -> None:
    log = PartitionLog(NAME)
    write(log, 1, producer=ProducerStamp(5, 2, 0, is_transactional=True))
    write(log, 1, producer=ProducerStamp(6, 0, 0, is_transactional=True))
    log.end_transaction(5, 2, False, 9)
    marker = list(log.batches(2))[-1]
    assert marker.is_control
    assert marker.producer == ProducerStamp(5, 2, -1, is_transactional=True)
    assert log.aborted == [(5, 0, 2, 1)]
    log.end_transaction(6, 0, True, 9)
    assert log.aborted == [(5, 0, 2, 1)]
    log.trim(3)
    assert log.aborted == []


def test_a_log_admits_what_its_producer_has_to_send_next() -> None:
    log = PartitionLog(NAME)
    stamp = ProducerStamp(5, 0, 0)
    assert log.admit(stamp, 2) is None
    write(log, 1, 1, producer=stamp)
    assert log.admit(stamp, 2) == 0
    assert log.admit(ProducerStamp(5, 0, 2), 1) is None
    came = WireBatch(make_payload(1, [1, 1, 1], ProducerStamp(5, 0, 2)), 0)
    assert log.admit(came.producer, came.count) is None
    log.append_payload(came.payload)
    assert log.admit(came.producer, came.count) == 2
    with pytest.raises(OutOfOrderSequence):
        log.admit(ProducerStamp(5, 0, 4), 1)
    log.trim(5)
    assert log.admit(ProducerStamp(5, 0, 2), 3) == 2, "trimming forgets no producer"


def test_a_marker_of_an_old_epoch_is_not_written() -> None:
    log = PartitionLog(NAME)
    write(log, 1, producer=ProducerStamp(5, 3, 0, is_transactional=True))
    with pytest.raises(InvalidProducerEpoch):
        log.end_transaction(5, 2, False, 9)
    assert (log.end_offset, log.last_stable_offset, log.aborted) == (1, 0, [])


def test_a_deleted_log_knows_no_producer() -> None:
    log = PartitionLog(NAME)
    write(log, 1, producer=ProducerStamp(5, 3, 0, is_transactional=True))
    log.delete()
    assert (log.last_stable_offset, len(log.producers)) == (1, 0)


def test_a_transaction_that_ended_later_is_found_if_it_began_in_the_range() -> None:
    log = PartitionLog(NAME)
    for producer in (1, 2, 3):
        write(log, 1, producer=ProducerStamp(producer, 0, 0, is_transactional=True))
    for producer in (1, 3, 2):
        log.end_transaction(producer, 0, False, 9)
    assert [aborted.producer_id for aborted in log.aborted_between(0, 2)] == [1, 2]
    assert [aborted.producer_id for aborted in log.aborted_between(4, 9)] == [3, 2]


def test_the_search_for_aborted_transactions_ends_where_none_can_follow() -> None:
    log = PartitionLog(NAME)
    for number in range(100):
        write(log, 1, producer=ProducerStamp(number, 0, 0, is_transactional=True))
        log.end_transaction(number, 0, False, 9)
    looked = []

    class Watched(list[AbortedTransaction]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            looked.append(index)
            return super().__getitem__(index)

    log.aborted = Watched(log.aborted)
    assert [aborted.first_offset for aborted in log.aborted_between(10, 15)] == [10, 12, 14]
    assert len(looked) < 15


def test_a_payload_keeps_all_but_its_place() -> None:
    log = PartitionLog(NAME)
    write(log, 1, 1, 1)
    log.leader_epoch = 9
    payload = make_payload(1, [5, 7, 6], ProducerStamp(1 << 40, 3, 21))
    log.append_payload(payload)
    stored = next(iter(log.batches(3)))
    assert isinstance(stored, WireBatch)
    assert stored.payload == (3).to_bytes(8, "big") + payload[8:12] + (9).to_bytes(4, "big") + payload[16:]
    assert (stored.base_offset, stored.end_offset, stored.size) == (3, 6, len(payload))
    assert (stored.max_timestamp_ms, stored.latest_ms) == (7, 7)
    assert stored.producer == ProducerStamp(1 << 40, 3, 21, is_transactional=False)
    assert not stored.is_control


def test_payloads_take_little_more_memory_than_their_bytes() -> None:
    log = PartitionLog(NAME)
    payload = make_payload(1, [1_700_000_000_000], ProducerStamp(1, 0, 5)) + bytes(1000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3000):
            log.append_payload(payload)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 1.3 * log.size
