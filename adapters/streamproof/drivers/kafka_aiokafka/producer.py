"""Sending over aiokafka."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as native_errors

from streamproof.core.partitioner import partition_for, partitions_for
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.drivers.kafka_aiokafka.admin import AiokafkaAdmin
from streamproof.drivers.kafka_aiokafka.batches import Accumulator, Batch, CarefulSender, Ledger
from streamproof.drivers.kafka_aiokafka.client import (
    Deadline,
    adopt,
    bounded,
    ended,
    finished,
    made,
    translated,
)
from streamproof.drivers.kafka_aiokafka.settings import Settings
from streamproof.errors import (
    AccessDenied,
    BufferFull,
    Closed,
    DeliveryUnknown,
    RecordTooLarge,
    StreamproofError,
    TimedOut,
    UnknownTopic,
    Unreachable,
)
from streamproof.options import ProducerOptions
from streamproof.records import Headers, RawOutgoing, TopicPartition

_log = logging.getLogger("streamproof.kafka")

_MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The client's own limit: high, so that the topic's limit decides, which the broker knows."""

_MOST_TOPICS = 10_000
_TURN_EVERY = 512
"""Records after which other tasks get a turn."""

_APPEARING_S = 0.5
"""How long a topic is waited for that the broker does not know: it may be new."""

_GONE_S = 2.0
"""How long a topic may be missing from the metadata before records to it are given up."""

_LOOK_S = 0.05
_TICK_S = 0.25
_LEAST_S = 0.5
_NO_HEADERS: list[Any] = []


class _Topic:
    """A topic that is there."""

    __slots__ = ("current", "logs")

    def __init__(self, name: str, partitions: int) -> None:
        self.logs = [TopicPartition(name, index) for index in range(partitions)]
        self.current = 0
        """Where records without a key go now: to one partition until its batch is on its way
        (KIP-480), so that batches are large."""


class AiokafkaProducer:
    """See :class:`~streamproof.driver.AsyncProducerDriver`."""

    def __init__(
        self,
        settings: Settings,
        options: ProducerOptions,
        admin: AiokafkaAdmin,
        closed: "Callable[[AiokafkaProducer], None]",
    ) -> None:
        self._closed = closed
        self._admin = admin
        self._max_record_bytes = int(settings.pop("max_request_size", _MAX_RECORD_BYTES))
        settings["max_request_size"] = max(self._max_record_bytes, 1024 * 1024)
        self.native: Any = made(AIOKafkaProducer, settings)
        adopt(self.native.client)
        self._ledger = Ledger(self.native._txn_manager)
        accumulator: Any = self.native._message_accumulator
        accumulator.__class__ = Accumulator
        accumulator.ledger = self._ledger
        self._accumulator: Accumulator = accumulator
        sender: Any = self.native._sender
        sender.__class__ = CarefulSender
        sender.tasks = set()
        self._sender: CarefulSender = sender
        self._buffer_records = options.buffer_records
        self._delivery_timeout_s = options.delivery_timeout_s
        self._topics: dict[str, _Topic] = {}
        self._missing: dict[str, float] = {}
        self._line = asyncio.Lock()
        self._until_turn = _TURN_EVERY
        self._tick: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def connect(self, timeout_s: float) -> None:
        """Find the brokers, and the producer's id. Raises :class:`Unreachable`, :class:`AccessDenied`."""
        await bounded(self.native.start(), "the producer cannot connect", Deadline(timeout_s))
        self.native.client.cluster.add_listener(self._look_at_metadata)

    # -- sending ---------------------------------------------------------------------------

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
        """See the Protocol."""
        self._until_turn -= 1
        if self._until_turn <= 0:
            self._until_turn = _TURN_EVERY
            await asyncio.sleep(0)
        record = (value, key, headers, partition, timestamp_ms)
        delivery = self._take_now(topic, *record)
        if delivery is not None:
            return delivery
        return await self._take(topic, record, Deadline(timeout_s))

    def _take_now(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        *,
        is_first_in_line: bool = False,
    ) -> AsyncDelivery | None:
        """Take a record that needs no waiting; ``None`` if it does, or if others wait."""
        if self._accumulator.fatal is not None:
            failure = self._accumulator.fatal
            return _settled(translated(failure, f"not sent to {topic}: close this producer, make a new one"))
        known = self._topics.get(topic)
        is_held_up = self._ledger.records >= self._buffer_records
        if known is None or is_held_up or self._is_closed:
            return None
        if not is_first_in_line and self._line.locked():
            return None
        if partition is None:
            log = self._any(known) if key is None else known.logs[partition_for(key, len(known.logs))]
        elif partition < len(known.logs):
            log = known.logs[partition]
        else:
            return None
        if value is not None and len(value) > self._max_record_bytes:
            return _settled(self._too_large(topic, len(value)))
        if self._tick is None:
            self._watch()
        stamp = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        return self._accumulator.take(log, key, value, stamp, list(headers) if headers else _NO_HEADERS)

    def _any(self, topic: _Topic) -> TopicPartition:
        """The log for the next record without a key."""
        log = topic.logs[topic.current]
        if self._accumulator.is_open(log) or len(topic.logs) == 1:
            return log
        cluster = self.native.client.cluster
        ready = [log for log in topic.logs if (cluster.leader_for_partition(log) or 0) >= 0]
        free = [log for log in ready if not self._accumulator._batches.get(log)]
        log = random.choice(free or ready or topic.logs)
        topic.current = log.partition
        return log

    async def _take(self, topic: str, record: "_Record", deadline: Deadline) -> AsyncDelivery:
        """Take a record that has to wait: in line, so that the order of the calls is kept."""
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)):
                await self._line.acquire()
        except TimeoutError:
            raise self._buffer_full(deadline) from None
        try:
            while True:
                if self._is_closed:
                    return _settled(Closed("the producer is closed: make a new one"))
                refusal = await self._refusal(topic, record[3], deadline)
                if refusal is not None:
                    return _settled(refusal)
                delivery = self._take_now(topic, *record, is_first_in_line=True)
                if delivery is not None:
                    return delivery
                if deadline.is_over:
                    raise self._buffer_full(deadline)
                await self._room(topic, record, deadline)
        finally:
            self._line.release()

    async def _room(self, topic: str, record: "_Record", deadline: Deadline) -> None:
        """Wait for a change that may have made room."""
        if self._ledger.records >= self._buffer_records:
            self._accumulator.close_open()
            await self._ledger.changed(deadline.left_s)
            return
        known = self._topics.get(topic)
        if known is None:
            return
        _, key, _, partition, _ = record
        if partition is not None:
            index = partition
        else:
            index = known.current if key is None else partition_for(key, len(known.logs))
        await self._accumulator.drained(known.logs[index], min(deadline.left_s, _TICK_S))

    def _buffer_full(self, deadline: Deadline) -> BufferFull:
        return BufferFull(
            f"the send buffer stayed full for {deadline.timeout_s} s: wait for deliveries, "
            "raise buffer_records, or check whether the broker takes records at all"
        )

    def _too_large(self, topic: str, size: int) -> RecordTooLarge:
        return RecordTooLarge(
            f"not stored in {topic}: {size} bytes are more than this client sends, "
            f"{self._max_record_bytes}; send less, or raise message.max.bytes"
        )

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        await asyncio.sleep(0)
        deliveries: list[AsyncDelivery] = []
        known = self._topics.get(topic)
        if known is not None and len(records) > 1:
            # Hashes the keys that are new in one go, and remembers them.
            partitions_for([record.key for record in records], len(known.logs))
        for record in records:
            fields = (record.value, record.key, record.headers, record.partition, record.timestamp_ms)
            delivery = self._take_now(topic, *fields)
            if delivery is None:
                try:
                    delivery = await self._take(topic, fields, deadline)
                except BufferFull as full:
                    rest = len(records) - len(deliveries)
                    deliveries.extend(_settled(full) for _ in range(rest))
                    break
            deliveries.append(delivery)
        return AsyncDeliveries(deliveries)

    # -- topics ----------------------------------------------------------------------------

    async def _refusal(
        self, topic: str, partition: int | None, deadline: Deadline
    ) -> StreamproofError | None:
        """Why a record cannot be placed, once the brokers were asked where that is not known."""
        if partition is not None and partition < 0:
            return UnknownTopic(f"{topic} has no partition {partition}: partitions count from 0")
        known = self._topics.get(topic)
        if known is not None and (partition is None or partition < len(known.logs)):
            return None
        patience = Deadline(min(_APPEARING_S, deadline.left_s))
        while True:
            count = -1
            try:
                counts = await self._admin.partitions_of([topic], max(_LOOK_S, min(5.0, deadline.left_s)))
                count = counts[topic]
            except UnknownTopic:
                pass
            except AccessDenied as denial:
                return denial
            except StreamproofError as failure:
                return _never_sent(topic, failure)
            if count > (partition or 0):
                await self._learn(topic, count, deadline)
                return None
            # While it is made, or its leaders move, a topic has no partitions for a moment.
            if (deadline if count == 0 else patience).is_over:
                return _unknown(topic, count, partition)
            await asyncio.sleep(min(_LOOK_S, deadline.left_s))

    async def _learn(self, topic: str, partitions: int, deadline: Deadline) -> None:
        if len(self._topics) >= _MOST_TOPICS:
            self._topics.clear()
            self.native.client.set_topics([topic])
        known = self._topics.get(topic)
        fresh = _Topic(topic, partitions)
        if known is None or len(known.logs) < partitions:
            self._topics[topic] = fresh
        await asyncio.wait(
            [asyncio.ensure_future(self.native.client.add_topic(topic))], timeout=min(2.0, deadline.left_s)
        )
        self._topics.setdefault(topic, fresh)

    def _look_at_metadata(self, cluster: Any) -> None:
        """The library has new metadata: topics come, go and grow."""
        for name, known in list(self._topics.items()):
            partitions = cluster.partitions_for_topic(name)
            if partitions is None:
                del self._topics[name]
            elif len(partitions) > len(known.logs):
                self._topics[name] = _Topic(name, len(partitions))

    # -- what takes too long ---------------------------------------------------------------

    def _watch(self) -> None:
        self._tick = asyncio.get_running_loop().call_later(
            min(_TICK_S, self._delivery_timeout_s / 4), self._look_at_batches
        )

    def _look_at_batches(self) -> None:
        """Settle what has waited for too long."""
        self._tick = None
        for batch in list(self._ledger.batches):
            age_s = self._accumulator.age_s(batch)
            if age_s > self._delivery_timeout_s:
                self._give_up(batch)
            elif age_s > _GONE_S:
                self._drop_if_gone(batch)
        if self._ledger.batches and not self._is_closed:
            self._watch()

    def _give_up(self, batch: Batch) -> None:
        """Its time is over. What was never sent is taken back; for the rest nobody knows, and the
        library may still store it."""
        waited = f"no acknowledgement within {self._delivery_timeout_s} s"
        if batch.attempts == 0 and self._accumulator.give_up(batch, native_errors.KafkaTimeoutError(waited)):
            return
        self._forsake(batch, waited)

    def _forsake(self, batch: Batch, why: str) -> None:
        place = f"{batch.tp.topic}[{batch.tp.partition}]"
        self._ledger.fail(
            batch,
            lambda: DeliveryUnknown(
                f"not known whether it is stored in {place}: {why}; "
                "read the topic back, or send it again where a double does no harm"
            ),
        )
        self._ledger.wake()

    def _drop_if_gone(self, batch: Batch) -> None:
        """A topic that was deleted is waited for in vain."""
        topic = batch.tp.topic
        if self.native.client.cluster.partitions_for_topic(topic) is not None:
            self._missing.pop(topic, None)
            return
        since = self._missing.setdefault(topic, time.monotonic())
        if time.monotonic() - since > _GONE_S:
            self._accumulator.give_up(batch, native_errors.UnknownTopicOrPartitionError(topic))

    # -- the end ---------------------------------------------------------------------------

    async def flush(self, timeout_s: float) -> None:
        """See the Protocol."""
        if not await self._is_flushed(timeout_s):
            raise TimedOut(
                f"{self._ledger.records} records have no outcome after {timeout_s} s; they are under way"
            )

    async def _is_flushed(self, timeout_s: float) -> bool:
        deadline = Deadline(timeout_s)
        waiting = [batch for batch in self._ledger.batches if not batch.fate.is_settled]
        self._accumulator.close_open()
        while waiting := [batch for batch in waiting if not batch.fate.is_settled]:
            if deadline.is_over:
                return False
            await self._ledger.changed(deadline.left_s)
        return True

    async def close(self, timeout_s: float) -> None:
        """See the Protocol."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = Deadline(timeout_s)
        try:
            if self._sender.sender_task is not None:
                await self._is_flushed(timeout_s)
        finally:
            await self._end(deadline)

    async def _end(self, deadline: Deadline) -> None:
        """Stop the library. What it still holds is given up first: it would wait for that."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        left_s = max(_LEAST_S, deadline.left_s)
        sender = self._sender
        has_rest = bool(self._ledger.batches)
        for batch in list(self._ledger.batches):
            self._forsake(batch, "the producer was closed before the broker answered")
        if has_rest:
            tasks = {*sender.tasks, *([sender.sender_task] if sender.sender_task else [])}
            await ended(tasks, left_s)
            self.native._closed = True
            await finished(self.native.client.close(), left_s, "closing the producer's connections")
        else:
            await finished(self.native.stop(), left_s, "closing the producer")
            await finished(self.native.client.close(), _LEAST_S, "closing the producer's connections")
        if not sender.sender_task or not sender.sender_task.done():
            await ended([sender.sender_task] if sender.sender_task else [], _LEAST_S)
        self._ledger.batches.clear()
        self._closed(self)


_Record = tuple[bytes | None, bytes | None, Headers, int | None, int | None]
"""Value, key, headers, partition, timestamp."""


def _never_sent(topic: str, failure: StreamproofError) -> StreamproofError:
    error = Unreachable(f"not sent to {topic}: {failure}", definite=True)
    error.__cause__ = failure.__cause__
    return error


def _unknown(topic: str, count: int, partition: int | None) -> StreamproofError:
    if count == 0:
        return Unreachable(f"not sent: {topic} has no partitions yet; try again later", definite=True)
    if count > 0:
        return UnknownTopic(
            f"not stored: {topic} has no partition {partition}, only {count}; check the partition"
        )
    return UnknownTopic(f"not stored: there is no topic {topic}; create it first, or check the name")


def _settled(error: StreamproofError) -> AsyncDelivery:
    delivery = AsyncDelivery()
    delivery.settle(error)
    return delivery
