"""The in-memory backend for coroutines.

No call blocks: the cluster's lock is held for moments only, and whoever waits is woken on its own
event loop, also by other loops and threads. Calls that never have to wait let other tasks run now
and then, so that a loop around them does not starve the rest of the program.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, final

from streamproof.capabilities import Capabilities
from streamproof.deliveries import AsyncDelivery
from streamproof.driver import AsyncAssignmentListener
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.deliveries import AsyncMemoryDeliveries, AsyncMemoryDelivery
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

_YIELD_EVERY = 256
"""Sends after which other tasks get a turn."""


class AsyncMemoryProducer:
    """See :class:`~streamproof.driver.AsyncProducerDriver`. Nothing is ever under way when a call
    returns."""

    def __init__(self, writer: MemoryWriter, on_close: Callable[["AsyncMemoryProducer"], None]) -> None:
        self._writer = writer
        self._on_close = on_close
        self._sends = 0

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> AsyncDelivery:
        """Append one record."""
        answer = self._writer.append(topic, value, key, headers, partition, timestamp_ms)
        self._sends += 1
        if self._sends % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        return AsyncMemoryDelivery(answer)

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncMemoryDeliveries:
        """Append many records."""
        answers = self._writer.append_many(topic, records)
        await asyncio.sleep(0)
        return AsyncMemoryDeliveries(answers)

    async def flush(self, timeout_s: float) -> None:
        """Nothing is ever left to wait for."""
        self._writer.require_open()

    async def close(self, timeout_s: float) -> None:
        """Take no more records."""
        self.crash()

    def crash(self) -> None:
        """Stop as if the process had died."""
        self._writer.is_closed = True
        self._on_close(self)


@final
class AsyncMemoryTransactionalProducer(AsyncMemoryProducer):
    """See :class:`~streamproof.driver.AsyncTransactionalProducerDriver`."""

    def __init__(self, writer: TransactionalWriter, on_close: Callable[[AsyncMemoryProducer], None]) -> None:
        super().__init__(writer, on_close)
        self._transactions = writer

    async def init_transactions(self, timeout_s: float) -> None:
        """Take the transactional id over."""
        self._transactions.init_transactions()

    async def begin_transaction(self) -> None:
        """Sends and offsets belong to one transaction from now on."""
        self._transactions.begin_transaction()

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """Store a group's progress with this transaction."""
        self._transactions.commit_offsets(offsets, member)

    async def commit_transaction(self, timeout_s: float) -> None:
        """Make everything visible at once."""
        self._transactions.commit_transaction()

    async def abort_transaction(self, timeout_s: float) -> None:
        """Make sure that nothing of it is seen."""
        self._transactions.abort_transaction()

    async def close(self, timeout_s: float) -> None:
        """Abort what is open, and take no more records."""
        self._transactions.shut()
        self._on_close(self)


class _Alarm:
    """What one waiting coroutine waits on; ``ring`` may come from any thread."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._thread = 0

    def arm(self) -> None:
        """Make ready to wait, on the running loop."""
        self._future = asyncio.get_running_loop().create_future()
        self._thread = threading.get_ident()

    def ring(self) -> None:
        """Let the wait end."""
        future = self._future
        if future is None:
            return
        with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
            if threading.get_ident() == self._thread:
                _resolve(future)
            else:
                future.get_loop().call_soon_threadsafe(_resolve, future)

    async def wait(self, timeout_s: float) -> None:
        """Until it rings, or the time passes."""
        future = self._future
        assert future is not None
        handle = future.get_loop().call_later(timeout_s, _resolve, future)
        try:
            await future
        finally:
            handle.cancel()
            self._future = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@final
class AsyncMemoryConsumer:
    """See :class:`~streamproof.driver.AsyncConsumerDriver`."""

    def __init__(
        self,
        cluster: MemoryCluster,
        options: ConsumerOptions,
        on_close: Callable[["AsyncMemoryConsumer"], None],
    ) -> None:
        self._lock = cluster.lock
        self._alarm = _Alarm()
        self._idle_alarm = _Alarm()
        self._reader = MemoryReader(cluster, options, self._alarm.ring)
        self._busy_task: asyncio.Task[object] | None = None
        self._listener: AsyncAssignmentListener | None = None
        self._on_close = on_close

    # -- reading ---------------------------------------------------------------------------

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        """Begin reading."""
        self._enter()
        try:
            self._listener = listener
            with self._lock:
                self._reader.start()
                notice = self._reader.change() if self._reader.is_alone else None
            if notice is not None:
                await self._tell(notice)
        finally:
            self._exit()

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """Records, as soon as there are some."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        reader = self._reader
        self._enter()
        try:
            await asyncio.sleep(0)
            while True:
                with self._lock:
                    outcome = reader.step(max_records)
                    if not outcome:
                        self._alarm.arm()
                        bound_s = reader.begin_wait()
                if isinstance(outcome, Notice):
                    await self._tell(outcome)
                elif outcome:
                    return outcome
                else:
                    left_s = deadline - loop.time()
                    if left_s <= 0:
                        return []
                    await self._alarm.wait(min(left_s, bound_s))
        finally:
            self._exit()

    async def ack(self, records: Sequence[RawRecord]) -> None:
        """Refused: progress is one offset a log."""
        raise Unsupported("memory:// stores offsets: use commit, as acknowledgement='offset' tells")

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Store the group's progress."""
        with self._lock:
            self._reader.commit(offsets)

    # -- place and flow --------------------------------------------------------------------

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
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

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        """The offset read next."""
        with self._lock:
            return self._reader.position(partition)

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        """The group's stored progress; while an open transaction may be about to move it, it waits."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            with self._lock:
                found = self._reader.committed(partitions)
                if not isinstance(found, dict):
                    self._alarm.arm()
            if isinstance(found, dict):
                return found
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise unstable(timeout_s)
            await self._alarm.wait(min(left_s, found))

    def membership(self) -> GroupMembership:
        """Who reads, for a transaction."""
        with self._lock:
            return self._reader.membership()

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """The ends of each log."""
        with self._lock:
            return self._reader.watermarks(partitions)

    # -- the end ---------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """Leave the group in an orderly way. A poll that waits in another task raises
        :class:`Closed`."""
        with self._lock:
            if not self._reader.begin_close():
                return
        try:
            if self._busy_task not in (None, asyncio.current_task()):
                self._idle_alarm.arm()
                await self._idle_alarm.wait(timeout_s)
            with self._lock:
                notice = self._reader.last_notice()
            if notice is not None and self._busy_task in (None, asyncio.current_task()):
                await self._tell(notice)
        finally:
            with self._lock:
                self._reader.finish()
            self._on_close(self)

    def crash(self) -> None:
        """Stop as if the process had died: no commit, no leave, no call of the listener. Its group
        notices when the session times out."""
        with self._lock:
            self._reader.crash()
        self._on_close(self)

    # -- inside ----------------------------------------------------------------------------

    def _enter(self) -> None:
        if self._busy_task is not None:
            with self._lock:
                self._reader.require_open()
            raise UsageError("another task polls this consumer: give each task a consumer of its own")
        self._busy_task = asyncio.current_task()

    def _exit(self) -> None:
        with self._lock:
            self._reader.end_poll()
        self._busy_task = None
        self._idle_alarm.ring()

    async def _tell(self, notice: Notice) -> None:
        listener = self._listener
        assert listener is not None
        try:
            if notice.kind == "assign":
                await listener.on_assign(notice.generation, notice.partitions, notice.positions)
            elif notice.kind == "revoke":
                await listener.on_revoke(notice.generation, notice.partitions)
            else:
                await listener.on_lost(notice.generation, notice.partitions)
        finally:
            with self._lock:
                self._reader.settle(notice)


@final
class AsyncMemoryAdmin:
    """See :class:`~streamproof.driver.AsyncAdminDriver`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        """Create each in turn."""
        self._cluster.create_topics(topics)

    async def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        """Delete each in turn."""
        self._cluster.delete_topics(names)

    async def list_topics(self, timeout_s: float) -> list[str]:
        """All names, sorted."""
        return self._cluster.list_topics()

    async def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        """One description a name."""
        return self._cluster.describe_topics(names)

    async def list_groups(self, timeout_s: float) -> list[str]:
        """Groups with members or progress, sorted."""
        return self._cluster.list_groups()

    async def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        """One description a name."""
        return self._cluster.describe_groups(names)

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Trim each log in turn."""
        self._cluster.delete_records(before)


class _Client(Protocol):
    async def close(self, timeout_s: float) -> None: ...

    def crash(self) -> None: ...


@final
class AsyncMemoryDriver:
    """See :class:`~streamproof.driver.AsyncDriver`. ``native`` is the :class:`MemoryCluster`."""

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

    async def producer(self, options: ProducerOptions) -> AsyncMemoryProducer:
        """A producer."""
        self._require_open()
        require_producer(options)
        client = f"producer-{self._cluster.new_id():06d}"
        producer: AsyncMemoryProducer
        if options.transactional_id is None:
            producer = AsyncMemoryProducer(MemoryWriter(self._cluster, client), self._forget)
        else:
            writer = TransactionalWriter(self._cluster, client, options)
            producer = AsyncMemoryTransactionalProducer(writer, self._forget)
        self._clients[producer] = None
        return producer

    async def consumer(self, options: ConsumerOptions) -> AsyncMemoryConsumer:
        """A consumer that was not started yet."""
        self._require_open()
        require_consumer(options)
        consumer = AsyncMemoryConsumer(self._cluster, options, self._forget)
        self._clients[consumer] = None
        return consumer

    async def admin(self) -> AsyncMemoryAdmin:
        """The admin verbs."""
        self._require_open()
        return AsyncMemoryAdmin(self._cluster)

    async def close(self, timeout_s: float) -> None:
        """Close what is still open of it. The cluster lives on with whoever else holds it."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for client in list(self._clients):
            await client.close(max(0.0, deadline - loop.time()))

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
