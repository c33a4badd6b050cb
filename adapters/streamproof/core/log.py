"""One partition's log: an append-only run of batches with a first and a next offset.

No I/O and no clock: times are passed in. No lock: its owner guards it. Offsets of records rise and
may have gaps; nothing here assumes otherwise. Semantics are Kafka's: the *high watermark* ends what
is replicated (one copy: the log's end), the *last stable offset* is the first offset of the oldest
transaction that is still open and ends what a read-committed reader sees.

Appending believes what it is given. Who takes batches of idempotent and transactional producers asks
``admit`` first, with nothing in between.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

from streamproof.core.batch import (
    NO_PRODUCER,
    AnyBatch,
    Batch,
    Decode,
    ProducerStamp,
    WireBatch,
    placed,
    record_size,
)
from streamproof.core.producer_ledger import ProducerLedger
from streamproof.errors import OffsetOutOfRange
from streamproof.records import RawRecord, TopicPartition

_BATCH_RECORDS = 1024
_BATCH_BYTES = 512 * 1024
"""A batch of Python records grows no further than this, so that a wire client can fetch it whole."""


class Watcher(Protocol):
    """Somebody who waits for records of a log."""

    def on_append(self, log: "PartitionLog") -> None:
        """The log has grown, or more of it became readable. Must neither block nor raise."""
        ...


class AbortedTransaction(NamedTuple):
    """Offsets of an aborted transaction: its first record's and its control record's, and what was
    the last stable offset then: no transaction that ended later began below it."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


T = TypeVar("T")


def _following(items: Sequence[T], index: int) -> Iterator[T]:
    """The items from ``index`` on, without walking over those before it."""
    for at in range(index, len(items)):
        yield items[at]


def _offset_of(record: RawRecord) -> int:
    return -1 if record.offset is None else record.offset


class PartitionLog:
    """The records of one partition. ``retention_ms`` and ``retention_bytes`` of ``None`` keep all."""

    __slots__ = (
        "_bases",
        "_batches",
        "_decode",
        "_open",
        "aborted",
        "end_offset",
        "is_deleted",
        "leader_epoch",
        "name",
        "producers",
        "retention_bytes",
        "retention_ms",
        "size",
        "start_offset",
        "watchers",
    )

    def __init__(
        self,
        name: TopicPartition,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
        decode: Decode | None = None,
    ) -> None:
        self.name = name
        self.retention_ms = retention_ms
        self.retention_bytes = retention_bytes
        self.start_offset = 0
        self.end_offset = 0
        self.size = 0
        self.leader_epoch = 0
        self.is_deleted = False
        self.aborted: list[AbortedTransaction] = []
        self.producers = ProducerLedger()
        self.watchers: list[Watcher] = []
        self._batches: list[AnyBatch] = []
        self._bases: list[int] = []
        self._open: dict[int, list[AnyBatch]] = {}
        self._decode = decode

    # -- ends ------------------------------------------------------------------------------

    @property
    def high_watermark(self) -> int:
        """One past the last offset that every copy has."""
        return self.end_offset

    @property
    def last_stable_offset(self) -> int:
        """Where read-committed readers stop: before the oldest open transaction."""
        first = self.producers.first_open
        return self.end_offset if first is None else max(self.start_offset, first)

    def readable_end(self, is_committed: bool) -> int:
        """One past the last offset that a reader of this isolation may see."""
        return self.last_stable_offset if is_committed else self.end_offset

    def require_offset(self, offset: int) -> None:
        """Raise :class:`OffsetOutOfRange` unless reading may begin there; the end may."""
        if not self.start_offset <= offset <= self.end_offset:
            where = f"{self.name.topic}[{self.name.partition}]"
            why = "was trimmed away" if offset < self.start_offset else "is beyond the end"
            raise OffsetOutOfRange(
                f"offset {offset} of {where} {why}: it holds {self.start_offset} to {self.end_offset - 1}; "
                "seek to an offset in there, to the beginning or to the end",
                log_start=self.start_offset,
            )

    # -- writing ---------------------------------------------------------------------------

    def admit(self, producer: ProducerStamp, count: int, is_verified: bool = False) -> int | None:
        """Whether a batch of ``count`` records of an idempotent producer may be appended now: ``None``, or
        the first offset of the same batch that is stored already. Raises, and has the arguments, as
        :meth:`~streamproof.core.producer_ledger.ProducerLedger.check`."""
        return self.producers.check(producer, count, is_verified)

    def append(
        self,
        records: list[RawRecord],
        size: int,
        max_timestamp_ms: int,
        producer: ProducerStamp = NO_PRODUCER,
    ) -> None:
        """Add records whose offsets run on from ``end_offset``. The list belongs to the log from now
        on; ``size`` is the sum of their :func:`record_size`."""
        base = self.end_offset
        self.end_offset += len(records)
        self.size += size
        if producer is not NO_PRODUCER:
            self.producers.appended(producer, len(records), base, max_timestamp_ms)
        tail = self._growing_tail(len(records), producer)
        if tail is None:
            self._add(Batch(base, self.end_offset, size, max_timestamp_ms, 0, records, producer=producer))
        else:
            tail.records += records
            tail.end_offset = self.end_offset
            tail.size += size
            if max_timestamp_ms > tail.max_timestamp_ms:
                tail.max_timestamp_ms = max_timestamp_ms
                tail.latest_ms = max(tail.latest_ms, max_timestamp_ms)
        if self.watchers:
            self._tell_watchers()

    def append_one(self, record: RawRecord, size: int) -> None:
        """``append`` for one record of no idempotent producer, at the lowest cost."""
        if self._batches:
            tail = self._batches[-1]
            if (
                type(tail) is Batch
                and tail.producer is NO_PRODUCER
                and not tail.is_sealed
                and len(tail.records) < _BATCH_RECORDS
                and tail.size <= _BATCH_BYTES
            ):
                tail.records.append(record)
                self.end_offset += 1
                tail.end_offset = self.end_offset
                tail.size += size
                self.size += size
                if record.timestamp_ms > tail.max_timestamp_ms:
                    tail.max_timestamp_ms = record.timestamp_ms
                    tail.latest_ms = max(tail.latest_ms, record.timestamp_ms)
                if self.watchers:
                    self._tell_watchers()
                return
        self.append([record], size, record.timestamp_ms)

    def append_payload(self, payload: bytes) -> int:
        """Add a record batch as it came over the wire; its base offset. Nothing of it is checked
        here but its header believed: CRC, counts and sequences are its receiver's."""
        base = self.end_offset
        batch = WireBatch(placed(payload, base, self.leader_epoch), 0)
        self.end_offset = batch.end_offset
        self.size += len(payload)
        producer = batch.producer
        if producer.producer_id >= 0:
            self.producers.appended(producer, self.end_offset - base, base, batch.max_timestamp_ms)
        self._add(batch)
        self._tell_watchers()
        return base

    def end_transaction(self, producer_id: int, epoch: int, is_commit: bool, timestamp_ms: int) -> int:
        """Write the control record that commits or aborts what ``producer_id`` has open here; its
        offset. Read-committed readers skip what was aborted, all readers skip the control record.

        Raises :class:`~streamproof.core.producer_errors.InvalidProducerEpoch` if the log has seen a
        newer epoch; then nothing was written.
        """
        offset = self.end_offset
        first = self.producers.ended(producer_id, epoch, timestamp_ms)
        batches = self._open.pop(producer_id, ())
        self.end_offset += 1
        if first is not None and not is_commit:
            for batch in batches:
                batch.is_aborted = True
            self.aborted.append(AbortedTransaction(producer_id, first, offset, self.last_stable_offset))
        stamp = ProducerStamp(producer_id, epoch, -1, is_transactional=True)
        marker = Batch(offset, self.end_offset, 0, timestamp_ms, 0, [], producer=stamp)
        marker.is_control = True
        marker.is_sealed = True
        self._add(marker)
        self._tell_watchers()
        return offset

    def _growing_tail(self, count: int, producer: ProducerStamp) -> Batch | None:
        """The newest batch, if records of this producer may still join it."""
        if not self._batches:
            return None
        tail = self._batches[-1]
        if isinstance(tail, WireBatch) or tail.is_sealed or tail.size > _BATCH_BYTES:
            return None
        if len(tail.records) + count > _BATCH_RECORDS:
            return None
        if producer is not tail.producer and not self._continues(tail, producer):
            return None
        return tail

    @staticmethod
    def _continues(tail: Batch, producer: ProducerStamp) -> bool:
        sequence = tail.producer.sequence
        if sequence >= 0:
            sequence += tail.end_offset - tail.base_offset
        return producer == tail.producer._replace(sequence=sequence)

    def _add(self, batch: AnyBatch) -> None:
        before = self._batches[-1].latest_ms if self._batches else batch.max_timestamp_ms
        batch.latest_ms = max(before, batch.max_timestamp_ms)
        self._batches.append(batch)
        self._bases.append(batch.base_offset)
        producer = batch.producer
        if producer.is_transactional and not batch.is_control:
            self._open.setdefault(producer.producer_id, []).append(batch)

    def _tell_watchers(self) -> None:
        for watcher in self.watchers:
            watcher.on_append(self)

    # -- reading ---------------------------------------------------------------------------

    def batches(self, offset: int) -> Iterator[AnyBatch]:
        """The batches from the one that holds ``offset`` on, as a wire client fetches them."""
        return _following(self._batches, max(0, bisect_right(self._bases, offset) - 1))

    def read(self, offset: int, limit: int, is_committed: bool = True) -> tuple[list[RawRecord], int]:
        """Up to ``limit`` records from ``offset`` on, and the offset to go on from.

        The list is the caller's. It may be empty although the offset to go on from has moved: what
        stood there is control records or aborted. Raises :class:`OffsetOutOfRange`.
        """
        self.require_offset(offset)
        end = self.readable_end(is_committed)
        found: list[RawRecord] = []
        index = max(0, bisect_right(self._bases, offset) - 1)
        while offset < end and len(found) < limit and index < len(self._batches):
            batch = self._batches[index]
            if not batch.is_control and not (is_committed and batch.is_aborted):
                found += self._slice(batch, offset, limit - len(found))
                if len(found) >= limit:
                    return found, _offset_of(found[-1]) + 1
            offset = batch.end_offset
            index += 1
        return found, offset

    def _slice(self, batch: AnyBatch, offset: int, limit: int) -> list[RawRecord]:
        records = self._records(batch)
        if len(records) == batch.end_offset - batch.base_offset:
            first = max(0, offset - batch.base_offset)
        else:
            first = bisect_left(records, offset, key=_offset_of)
        return records[first : first + limit]

    def _records(self, batch: AnyBatch) -> list[RawRecord]:
        if isinstance(batch, Batch):
            return batch.records
        assert self._decode is not None, "a log that takes wire batches is made with decode=…"
        return self._decode(batch)

    def aborted_between(self, first: int, end: int) -> list[AbortedTransaction]:
        """The aborted transactions with records or a control record at ``first <= offset < end``, as a
        wire client needs them to skip their records."""
        found = []
        index = bisect_left(self.aborted, first, key=lambda aborted: aborted.last_offset)
        for aborted in _following(self.aborted, index):
            if aborted.first_offset < end:
                found.append(aborted)
            if aborted.last_stable_offset >= end:
                break
        return found

    def find(self, timestamp_ms: int, is_committed: bool = True) -> RawRecord | None:
        """The first readable record whose timestamp is at or after this time."""
        end = self.readable_end(is_committed)
        index = bisect_left(self._batches, timestamp_ms, key=lambda batch: batch.latest_ms)
        for batch in _following(self._batches, index):
            if batch.base_offset >= end:
                return None
            is_hidden = batch.is_control or (is_committed and batch.is_aborted)
            if not is_hidden and batch.max_timestamp_ms >= timestamp_ms:
                for record in self._records(batch):
                    if record.timestamp_ms >= timestamp_ms and self.start_offset <= _offset_of(record) < end:
                        return record
        return None

    # -- forgetting ------------------------------------------------------------------------

    def delete(self) -> None:
        """Forget everything for good, and wake who waits here: ``is_deleted`` tells them."""
        self.is_deleted = True
        self._advance(self.end_offset)
        self._open.clear()
        self.producers.clear()
        self._tell_watchers()

    def trim(self, before: int) -> None:
        """Forget everything below ``before``; below the start it does nothing. Raises
        :class:`OffsetOutOfRange` beyond the end."""
        if before > self.start_offset:
            self.require_offset(before)
            self._advance(before)

    def retain(self, now_ms: int) -> None:
        """Forget what is older than ``retention_ms``, and from the front while more than
        ``retention_bytes`` would remain (KIP-61 and Kafka's ``log.retention.bytes``, applied record
        by record where the records are Python's, batch by batch where they are bytes)."""
        start = self.start_offset
        if self.retention_ms is not None:
            start = self._first_since(now_ms - self.retention_ms)
        if self.retention_bytes is not None and self.size > self.retention_bytes:
            start = max(start, self._first_within(self.retention_bytes))
        if start > self.start_offset:
            self._advance(start)

    def _first_since(self, cutoff_ms: int) -> int:
        for batch in self._batches:
            if batch.max_timestamp_ms < cutoff_ms:
                continue
            if isinstance(batch, WireBatch) or batch.is_control:
                return max(batch.base_offset, self.start_offset)
            for record in self._live_records(batch):
                if record.timestamp_ms >= cutoff_ms:
                    return _offset_of(record)
        return self.end_offset

    def _first_within(self, limit: int) -> int:
        excess = self.size - limit
        for batch in self._batches:
            if batch.size <= excess:
                excess -= batch.size
                continue
            if isinstance(batch, Batch):
                for record in self._live_records(batch):
                    excess -= record_size(record.key, record.value, record.headers)
                    if excess < 0:
                        return _offset_of(record)
            return max(batch.base_offset, self.start_offset)
        return self.end_offset

    def _live_records(self, batch: Batch) -> list[RawRecord]:
        if batch.base_offset >= self.start_offset:
            return batch.records
        return batch.records[bisect_left(batch.records, self.start_offset, key=_offset_of) :]

    def _advance(self, start: int) -> None:
        whole = 0
        for batch in self._batches:
            if batch.end_offset > start:
                break
            self.size -= batch.size
            whole += 1
        head = self._batches[whole] if whole < len(self._batches) else None
        if isinstance(head, Batch):
            live = self._live_records(head)
            going = islice(live, bisect_left(live, start, key=_offset_of))
            size = sum(record_size(record.key, record.value, record.headers) for record in going)
            head.size -= size
            self.size -= size
        del self._batches[:whole]
        del self._bases[:whole]
        self.start_offset = start
        if self.aborted:
            del self.aborted[: bisect_left(self.aborted, start, key=lambda aborted: aborted.last_offset)]
