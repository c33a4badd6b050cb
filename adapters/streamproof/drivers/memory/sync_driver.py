"""The in-memory backend for threads."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, final

from streamproof.capabilities import Capabilities
from streamproof.deliveries import Delivery
from streamproof.driver import AssignmentListener
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.deliveries import MemoryDeliveries, MemoryDelivery
from streamproof.drivers.memory.reader import MemoryReader, Notice, unstable
from streamproof.drivers.memory.settings import CAPABILITIES, require_consumer, require_producer
from streamproof.drivers.memory.transactional_writer import TransactionalWriter
from streamproof.drivers.memory.writer import MemoryWriter
from streamproof.errors import Closed, Unsupported, UsageError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import (
    GroupDescription,
    GroupMembership,
    Headers,
    Position,
    RawOutgoing,
    RawRecord,
    TopicDescription,
    TopicPartition,
    TopicSpec,
    Watermarks,
)


class MemoryProducer:
    """See :class:`~streamproof.driver.ProducerDriver`. Any thread may send; nothing is ever under
    way when a call returns."""

    def __init__(self, writer: MemoryWriter, on_close: Callable[["MemoryProducer"], None]) -> None:
        self._writer = writer
        self._on_close = on_close

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> Delivery:
        """Append one record."""
        return MemoryDelivery(self._writer.append(topic, value, key, headers, partition, timestamp_ms))

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> MemoryDeliveries:
        """Append many records."""
        return MemoryDeliveries(self._writer.append_many(topic, records))

    def flush(self, timeout_s: float) -> None:
        """Nothing is ever left to wait for."""
        self._writer.require_open()

    def close(self, timeout_s: float) -> None:
        """Take no more records."""
        self.crash()

    def crash(self) -> None:
        """Stop as if the process had died."""
        self._writer.is_closed = True
        self._on_close(self)


@final
class MemoryTransactionalProducer(MemoryProducer):
    """See :class:`~streamproof.driver.TransactionalProducerDriver`."""

    def __init__(self, writer: TransactionalWriter, on_close: Callable[[MemoryProducer], None]) -> None:
        super().__init__(writer, on_close)
        self._transactions = writer

    def init_transactions(self, timeout_s: float) -> None:
        """Take the transactional id over."""
        self._transactions.init_transactions()

    def begin_transaction(self) -> None:
        """Sends and offsets belong to one transaction from now on."""
        self._transactions.begin_transaction()

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """Store a group's progress with this transaction."""
        self._transactions.commit_offsets(offsets, member)

    def commit_transaction(self, timeout_s: float) -> None:
        """Make everything visible at once."""
        self._transactions.commit_transaction()

    def abort_transaction(self, timeout_s: float) -> None:
        """Make sure that nothing of it is seen."""
        self._transactions.abort_transaction()

    def close(self, timeout_s: float) -> None:
        """Abort what is open, and take no more records."""
        self._transactions.shut()
        self._on_close(self)


@final
class MemoryConsumer:
    """See :class:`~streamproof.driver.ConsumerDriver`."""

    def __init__(
        self, cluster: MemoryCluster, options: ConsumerOptions, on_close: Callable[["MemoryConsumer"], None]
    ) -> None:
        self._lock = cluster.lock
        self._woken = threading.Event()
        self._reader = MemoryReader(cluster, options, self._woken.set)
        self._busy = threading.Lock()
        self._busy_thread: int | None = None
        self._listener: AssignmentListener | None = None
        self._on_close = on_close

    # -- reading ---------------------------------------------------------------------------

    def start(self, listener: AssignmentListener, timeout_s: float) -> None:
        """Begin reading."""
        self._enter()
        try:
            self._listener = listener
            with self._lock:
                self._reader.start()
                notice = self._reader.change() if self._reader.is_alone else None
            if notice is not None:
                self._tell(notice)
        finally:
            self._exit()

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """Records, as soon as there are some."""
        deadline = time.monotonic() + timeout_s
        reader = self._reader
        self._enter()
        try:
            while True:
                with self._lock:
                    outcome = reader.step(max_records)
                    if not outcome:
                        bound_s = reader.begin_wait()
                        self._woken.clear()
                if isinstance(outcome, Notice):
                    self._tell(outcome)
                elif outcome:
                    return outcome
                else:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        return []
                    self._woken.wait(min(left_s, bound_s))
        finally:
            self._exit()

    def ack(self, records: Sequence[RawRecord]) -> None:
        """Refused: progress is one offset a log."""
        raise Unsupported("memory:// stores offsets: use commit, as acknowledgement='offset' tells")

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Store the group's progress."""
        with self._lock:
            self._reader.commit(offsets)

    # -- place and flow --------------------------------------------------------------------

    def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        """Read on from there."""
        with self._lock:
            self._reader.seek(partitions, to)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Return no records of these logs."""
        with self._lock:
            self._reader.pause(partitions, True)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo ``pause``."""
        with self._lock:
            self._reader.pause(partitions, False)

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The logs held now, sorted."""
        with self._lock:
            return self._reader.assignment()

    def position(self, partition: TopicPartition, timeout_s: float) -> int:
        """The offset read next."""
        with self._lock:
            return self._reader.position(partition)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        """The group's stored progress; while an open transaction may be about to move it, it waits."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                found = self._reader.committed(partitions)
                self._woken.clear()
            if isinstance(found, dict):
                return found
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise unstable(timeout_s)
            self._woken.wait(min(left_s, found))

    def membership(self) -> GroupMembership:
        """Who reads, for a transaction."""
        with self._lock:
            return self._reader.membership()

    def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """The ends of each log."""
        with self._lock:
            return self._reader.watermarks(partitions)

    # -- the end ---------------------------------------------------------------------------

    def close(self, timeout_s: float) -> None:
        """Leave the group in an orderly way. A poll that waits in another thread raises
        :class:`Closed`."""
        with self._lock:
            if not self._reader.begin_close():
                return
        is_mine = self._busy_thread == threading.get_ident()  # closed by its own listener
        is_idle = is_mine or self._busy.acquire(timeout=timeout_s)
        try:
            with self._lock:
                notice = self._reader.last_notice()
            if notice is not None and is_idle:
                self._tell(notice)
        finally:
            with self._lock:
                self._reader.finish()
            if is_idle and not is_mine:
                self._busy.release()
            self._on_close(self)

    def crash(self) -> None:
        """Stop as if the process had died: no commit, no leave, no call of the listener. Its group
        notices when the session times out."""
        with self._lock:
            self._reader.crash()
        self._on_close(self)

    # -- inside ----------------------------------------------------------------------------

    def _enter(self) -> None:
        if not self._busy.acquire(blocking=False):
            with self._lock:
                self._reader.require_open()
            raise UsageError("another thread polls this consumer: give each thread a consumer of its own")
        self._busy_thread = threading.get_ident()

    def _exit(self) -> None:
        with self._lock:
            self._reader.end_poll()
        self._busy_thread = None
        self._busy.release()

    def _tell(self, notice: Notice) -> None:
        listener = self._listener
        assert listener is not None
        try:
            if notice.kind == "assign":
                listener.on_assign(notice.generation, notice.partitions, notice.positions)
            elif notice.kind == "revoke":
                listener.on_revoke(notice.generation, notice.partitions)
            else:
                listener.on_lost(notice.generation, notice.partitions)
        finally:
            with self._lock:
                self._reader.settle(notice)


@final
class MemoryAdmin:
    """See :class:`~streamproof.driver.AdminDriver`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        """Create each in turn."""
        self._cluster.create_topics(topics)

    def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        """Delete each in turn."""
        self._cluster.delete_topics(names)

    def list_topics(self, timeout_s: float) -> list[str]:
        """All names, sorted."""
        return self._cluster.list_topics()

    def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        """One description a name."""
        return self._cluster.describe_topics(names)

    def list_groups(self, timeout_s: float) -> list[str]:
        """Groups with members or progress, sorted."""
        return self._cluster.list_groups()

    def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        """One description a name."""
        return self._cluster.describe_groups(names)

    def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Trim each log in turn."""
        self._cluster.delete_records(before)


class _Client(Protocol):
    def close(self, timeout_s: float) -> None: ...

    def crash(self) -> None: ...


@final
class MemoryDriver:
    """See :class:`~streamproof.driver.Driver`. ``native`` is the :class:`MemoryCluster`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._clients: dict[_Client, None] = {}
        self._is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        """What an in-memory cluster can do."""
        return CAPABILITIES

    @property
    def native(self) -> MemoryCluster:
        """The cluster itself."""
        return self._cluster

    def producer(self, options: ProducerOptions) -> MemoryProducer:
        """A producer."""
        self._require_open()
        require_producer(options)
        client = f"producer-{self._cluster.new_id():06d}"
        producer: MemoryProducer
        if options.transactional_id is None:
            producer = MemoryProducer(MemoryWriter(self._cluster, client), self._forget)
        else:
            writer = TransactionalWriter(self._cluster, client, options)
            producer = MemoryTransactionalProducer(writer, self._forget)
        self._clients[producer] = None
        return producer

    def consumer(self, options: ConsumerOptions) -> MemoryConsumer:
        """A consumer that was not started yet."""
        self._require_open()
        require_consumer(options)
        consumer = MemoryConsumer(self._cluster, options, self._forget)
        self._clients[consumer] = None
        return consumer

    def admin(self) -> MemoryAdmin:
        """The admin verbs."""
        self._require_open()
        return MemoryAdmin(self._cluster)

    def close(self, timeout_s: float) -> None:
        """Close what is still open of it. The cluster lives on with whoever else holds it."""
        self._is_closed = True
        deadline = time.monotonic() + timeout_s
        for client in list(self._clients):
            client.close(max(0.0, deadline - time.monotonic()))

    def crash(self) -> None:
        """Crash all its clients."""
        self._is_closed = True
        for client in list(self._clients):
            client.crash()

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client, None)

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the connection is closed: connect again")
