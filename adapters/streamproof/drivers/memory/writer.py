"""Writing into an in-memory cluster: what blocking and async producers share.

Every record is settled when the call returns: there is no buffer and nothing under way.
"""

from collections.abc import Sequence

from streamproof.core.batch import BATCH_OVERHEAD, record_size
from streamproof.core.log import PartitionLog
from streamproof.core.partitioner import partition_for
from streamproof.core.topics import Topic
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.columns import Columns
from streamproof.drivers.memory.deliveries import Answer, Outcomes, Receipts
from streamproof.drivers.memory.faults import Request
from streamproof.errors import Closed, RecordTooLarge, StreamproofError
from streamproof.records import Headers, RawOutgoing, RawRecord, Receipt, Record


class MemoryWriter:
    """Appends to a cluster's logs. Its calls may come from any thread.

    Nothing is ever sent twice here, so plain producers need no producer id to be idempotent.
    """

    is_plain = True
    """Whether records may go into a log without asking ``_store``."""

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
        """Append one record: the record as it is stored, or why it is not."""
        cluster = self._cluster
        size = record_size(key, value, headers)
        with cluster.lock:
            if self.is_closed:
                self.require_open()
            topic = cluster.topics.find(name)
            if topic is None:
                try:
                    topic = cluster.topic_for(name)
                except StreamproofError as error:
                    return error
            if partition is None:
                partition = self._turned(topic) if key is None else partition_for(key, len(topic.logs))
            if size > topic.largest_record or not 0 <= partition < len(topic.logs):
                return _refusal(topic, partition, size)
            log = topic.logs[partition]
            if timestamp_ms is None:
                timestamp_ms = cluster.clock.now_ms()
            record: RawRecord = Record(name, partition, log.end_offset, key, value, timestamp_ms, headers)
            if topic.keeps_all and self.is_plain and not cluster.faults.interceptors:
                log.append_one(record, size)
            else:
                try:
                    self._store(topic, log, [record], size, timestamp_ms)
                except StreamproofError as error:
                    return error
        return record

    def append_many(self, name: str, records: Sequence[RawOutgoing]) -> Outcomes:
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
            _outcome(
                self.append(
                    name, record.value, record.key, record.headers, record.partition, record.timestamp_ms
                )
            )
            for record in records
        ]

    def _store_columns(self, columns: Columns) -> Outcomes:
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
            faults.ask(request)
            log.append(records, size, latest_ms)
            faults.hear(request)
        if not topic.keeps_all:
            log.retain(self._cluster.clock.now_ms())

    def _turned(self, topic: Topic) -> int:
        """The partition of the next record that may go to any."""
        self._turn += 1
        return self._turn % len(topic.logs)

    def require_open(self) -> None:
        """Raise :class:`Closed` if it is."""
        if self.is_closed:
            raise Closed("the producer is closed: make a new one with bus.producer(…)")


def _outcome(answer: Answer) -> Receipt | StreamproofError:
    if isinstance(answer, StreamproofError):
        return answer
    return Receipt(answer.topic, answer.partition, answer.offset, answer.timestamp_ms)


def _refusal(topic: Topic, partition: int, size: int) -> StreamproofError:
    """Why this topic does not take a record."""
    if not 0 <= partition < len(topic.logs):
        return topic.unknown_partition(partition)
    return RecordTooLarge(
        f"a record of {size + BATCH_OVERHEAD} bytes with its framing is above the limit of "
        f"{topic.settings.max_message_bytes} of topic {topic.name!r}: send less, or connect with "
        "memory://…?max_message_bytes=…"
    )
