"""Writing into an in-memory cluster: what blocking and async producers share.

Every record is settled when the call returns: there is no buffer and nothing under way.
"""

from collections.abc import Sequence
from itertools import count
from typing import Generic, TypeVar, overload

from streamproof.core.batch import BATCH_OVERHEAD, record_size
from streamproof.core.log import PartitionLog
from streamproof.core.partitioner import partition_for
from streamproof.core.topics import Topic
from streamproof.deliveries import AsyncDelivery, Delivery
from streamproof.drivers.memory_cluster import MemoryCluster
from streamproof.drivers.memory_columns import Columns
from streamproof.drivers.memory_faults import Request
from streamproof.errors import Closed, RecordTooLarge, StreamproofError
from streamproof.records import Headers, RawOutgoing, RawRecord, Receipt, Record

Answer = Receipt | StreamproofError

D = TypeVar("D", Delivery, AsyncDelivery)


class Receipts(Sequence[Answer]):
    """The receipts of a batch that was stored as a whole, made when somebody asks for them."""

    __slots__ = ("_bases", "_made", "_partitions", "_times", "_topic")

    def __init__(
        self, topic: str, partitions: list[int], bases: dict[int, int], times: int | list[int]
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._bases = bases
        self._times = times
        self._made: list[Receipt] | None = None

    def all(self) -> list[Receipt]:
        """The receipts, in the order of the records."""
        if self._made is None:
            following = {partition: count(base) for partition, base in self._bases.items()}
            times = self._times
            stamps = times if isinstance(times, list) else [times] * len(self._partitions)
            self._made = [
                Receipt(self._topic, partition, next(following[partition]), time)
                for partition, time in zip(self._partitions, stamps, strict=True)
            ]
        return self._made

    def __len__(self) -> int:
        return len(self._partitions)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Answer]: ...
    def __getitem__(self, index: int | slice) -> Answer | Sequence[Answer]:
        return self.all()[index]


class SettledDeliveries(Sequence[D], Generic[D]):
    """Deliveries made from answers that are there already, each when it is asked for."""

    __slots__ = ("_answers", "_kind")

    def __init__(self, answers: Sequence[Answer], kind: type[D]) -> None:
        self._answers = answers
        self._kind: type[D] = kind

    def __len__(self) -> int:
        return len(self._answers)

    @overload
    def __getitem__(self, index: int) -> D: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[D]: ...
    def __getitem__(self, index: int | slice) -> D | Sequence[D]:
        if isinstance(index, slice):
            return SettledDeliveries(self._answers[index], self._kind)
        return settled(self._answers[index], self._kind)


def settled(answer: Answer, kind: type[D]) -> D:
    """A delivery whose outcome is this."""
    delivery = kind()
    delivery.settle(answer)
    return delivery


def errors_of(answers: Sequence[Answer]) -> list[StreamproofError]:
    """The errors, in order."""
    if isinstance(answers, Receipts):
        return []
    return [answer for answer in answers if isinstance(answer, StreamproofError)]


def receipts_of(answers: Sequence[Answer]) -> list[Receipt]:
    """The receipts, or the first error raised."""
    if isinstance(answers, Receipts):
        return answers.all()
    receipts: list[Receipt] = []
    for answer in answers:
        if isinstance(answer, StreamproofError):
            raise answer
        receipts.append(answer)
    return receipts


class MemoryWriter:
    """Appends to a cluster's logs. Its calls may come from any thread."""

    def __init__(self, cluster: MemoryCluster, client: str) -> None:
        self._cluster = cluster
        self._client = client
        self._turn = 0
        self.is_closed = False

    def append(
        self,
        name: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Answer:
        """Append one record; where it stands, or why it does not."""
        cluster = self._cluster
        size = record_size(key, value, headers)
        with cluster.lock:
            self.require_open()
            try:
                topic = cluster.topic_for(name)
                if partition is None:
                    partition = self._partition(topic, key)
                log = topic.log(partition)
                _require_size(topic, size)
                if timestamp_ms is None:
                    timestamp_ms = cluster.clock.now_ms()
                receipt = Receipt(name, partition, log.end_offset, timestamp_ms)
                record: RawRecord = Record(name, partition, log.end_offset, key, value, timestamp_ms, headers)
                self._store(topic, log, [record], size, timestamp_ms)
            except StreamproofError as error:
                return error
        return receipt

    def append_many(self, name: str, records: Sequence[RawOutgoing]) -> Sequence[Answer]:
        """Append each in turn. All together where nothing is in the way, which costs far less."""
        cluster = self._cluster
        topic = cluster.topics.find(name)
        columns = Columns(records, topic) if topic is not None and records else None
        if columns is not None and columns.fits:
            with cluster.lock:
                self.require_open()
                if cluster.topics.find(name) is topic:
                    columns.place_keyless(self._turn)
                    self._turn += columns.keyless
                    return self._store_columns(columns)
        return [
            self.append(name, record.value, record.key, record.headers, record.partition, record.timestamp_ms)
            for record in records
        ]

    def _store_columns(self, columns: Columns) -> Sequence[Answer]:
        topic = columns.topic
        bases = {partition: topic.logs[partition].end_offset for partition in set(columns.partitions)}
        times = columns.times(self._cluster.clock.now_ms())
        records = columns.records(bases, times)
        sizes = columns.sizes({partition: len(found) for partition, found in records.items()})
        errors: dict[int, StreamproofError] = {}
        for partition, found in records.items():
            latest = times if isinstance(times, int) else max(record.timestamp_ms for record in found)
            try:
                self._store(topic, topic.logs[partition], found, sizes[partition], latest)
            except StreamproofError as error:
                errors[partition] = error
        receipts = Receipts(topic.name, columns.partitions, bases, times)
        if not errors:
            return receipts
        return [
            errors.get(partition, receipt)
            for partition, receipt in zip(columns.partitions, receipts.all(), strict=True)
        ]

    def _store(
        self, topic: Topic, log: PartitionLog, records: list[RawRecord], size: int, latest_ms: int
    ) -> None:
        """Append to one log, unless a fault has it otherwise; raises what the sender is told."""
        faults = self._cluster.faults
        if not faults.interceptors:
            log.append(records, size, latest_ms)
        else:
            request = Request("produce", self._client, None, topic.name, log.name.partition)
            _raise(faults.before(request))
            log.append(records, size, latest_ms)
            _raise(faults.after(request))
        if not topic.keeps_all:
            log.retain(self._cluster.clock.now_ms())

    def _partition(self, topic: Topic, key: bytes | None) -> int:
        if key is not None:
            return partition_for(key, len(topic.logs))
        self._turn += 1
        return self._turn % len(topic.logs)

    def require_open(self) -> None:
        """Raise :class:`Closed` if it is."""
        if self.is_closed:
            raise Closed("the producer is closed: make a new one with bus.producer(…)")


def _require_size(topic: Topic, size: int) -> None:
    limit = topic.settings.max_message_bytes
    if size + BATCH_OVERHEAD > limit:
        raise RecordTooLarge(
            f"a record of {size + BATCH_OVERHEAD} bytes with its framing is above the limit of {limit} of "
            f"topic {topic.name!r}: send less, or connect with memory://…?max_message_bytes=…"
        )


def _raise(error: StreamproofError | None) -> None:
    if error is not None:
        raise error
