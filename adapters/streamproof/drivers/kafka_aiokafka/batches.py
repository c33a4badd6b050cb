"""aiokafka's batches, kept so that a record's delivery is certain, exact and cheap.

aiokafka makes a future and a named tuple for each record. Here all records of a batch share one
:class:`Fate`, and a delivery reads its part of it when asked. What aiokafka 0.14 does not tell or
gets wrong is put right on the way:

* whether an attempt went out unanswered, which decides what is certain;
* the codes it has no class for (it calls them all ``UNKNOWN``);
* the timestamps of receipts (it gives every record of a batch that of the first);
* the sequence numbers of an idempotent producer after a refused batch: it goes on counting, and the
  broker would refuse everything after it as out of order. A batch that was certainly refused gives
  its numbers back; after one whose fate is unknown a new producer id is asked for.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka.producer import message_accumulator, sender
from aiokafka.producer.transaction_manager import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, PidAndEpoch

from streamproof.deliveries import AsyncDelivery, Outcome
from streamproof.drivers.kafka.errors import Stored, meaning_of, send_error
from streamproof.drivers.kafka_aiokafka.client import code_of, reason_of
from streamproof.errors import StreamproofError
from streamproof.records import Receipt, TopicPartition

# Few of the insides have types.
_MessageBatch: Any = message_accumulator.MessageBatch
_MessageAccumulator: Any = message_accumulator.MessageAccumulator
_Sender: Any = sender.Sender
_SendProduceReqHandler: Any = sender.SendProduceReqHandler


class Fate:
    """What became of a batch. ``failure`` makes a new error each time, since each is raised."""

    __slots__ = ("base_offset", "failure", "is_settled", "log", "logged_ms", "watched")

    def __init__(self, log: TopicPartition) -> None:
        self.log = log
        self.is_settled = False
        self.base_offset: int | None = None
        self.logged_ms = -1
        """When the broker stored it, where the topic says so; else -1."""
        self.failure: Callable[[], StreamproofError] | None = None
        self.watched: list[KafkaAsyncDelivery] = []

    def store(self, base_offset: int | None, logged_ms: int) -> None:
        """It stands in the log."""
        if not self.is_settled:
            self.base_offset, self.logged_ms = base_offset, logged_ms
            self._settle()

    def fail(self, failure: Callable[[], StreamproofError]) -> None:
        """It does not, or nobody knows."""
        if not self.is_settled:
            self.failure = failure
            self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        watched, self.watched = self.watched, []
        for delivery in watched:
            delivery._run_callbacks()


class KafkaAsyncDelivery(AsyncDelivery):
    """One record's part of its batch's fate."""

    __slots__ = ("_fate", "_index", "_known", "_timestamp_ms")

    def __init__(self, fate: Fate, index: int, timestamp_ms: int) -> None:
        self._fate = fate
        self._index = index
        self._timestamp_ms = timestamp_ms
        self._known: Receipt | StreamproofError | None = None
        self._callbacks = None

    @property
    def _answer(self) -> Receipt | StreamproofError | None:
        if self._known is None and self._fate.is_settled:
            self._known = self._read()
        return self._known

    @_answer.setter
    def _answer(self, answer: Receipt | StreamproofError | None) -> None:
        self._known = answer

    def _read(self) -> Receipt | StreamproofError:
        fate = self._fate
        if fate.failure is not None:
            return fate.failure()
        offset = None if fate.base_offset is None else fate.base_offset + self._index
        timestamp_ms = self._timestamp_ms if fate.logged_ms < 0 else fate.logged_ms
        return Receipt(fate.log.topic, fate.log.partition, offset, timestamp_ms)

    @property
    def is_settled(self) -> bool:
        return self._fate.is_settled

    @property
    def outcome(self) -> Outcome:
        fate = self._fate
        if fate.is_settled and fate.failure is None:
            return Outcome.ACKNOWLEDGED
        return super().outcome

    def add_done_callback(self, callback: Callable[[AsyncDelivery], object]) -> None:
        """See :class:`AsyncDelivery`."""
        if self._callbacks is None and not self._fate.is_settled:
            self._fate.watched.append(self)
        super().add_done_callback(callback)


class Batch(_MessageBatch):  # type: ignore[misc]
    """A batch whose records share a fate."""

    def __init__(
        self, log: TopicPartition, builder: Any, ttl: float, linger: float, ledger: "Ledger"
    ) -> None:
        super().__init__(log, builder, ttl, linger)
        self.fate = Fate(log)
        self.attempts = 0
        self.answer: int | None = None
        """The code in the broker's answer to the last attempt."""
        self._was_first = True
        self._ledger = ledger

    def take(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: list[Any]
    ) -> KafkaAsyncDelivery | None:
        """Add a record; ``None`` if the batch is full, or on its way already."""
        builder = self._builder
        if builder._closed:
            return None
        index = builder._relative_offset
        if builder._builder.append(index, timestamp_ms, key=key, value=value, headers=headers) is None:
            builder.close()
            return None
        builder._relative_offset = index + 1
        self._ledger.records += 1
        return KafkaAsyncDelivery(self.fate, index, timestamp_ms)

    def sending(self) -> None:
        """An attempt goes out."""
        if self.attempts:
            is_refused = self.answer is not None and meaning_of(self.answer).stored is not Stored.MAYBE
            self._was_first = self._was_first and is_refused
        self.attempts += 1
        self.answer = None

    def done(self, base_offset: int, timestamp: int | None = None, *_: Any) -> None:
        """aiokafka's word that it is stored."""
        self._end()
        logged_ms = -1 if timestamp is None else timestamp
        self.fate.store(base_offset if base_offset >= 0 else None, logged_ms)

    def done_noack(self) -> None:
        """aiokafka's word that it was sent, where nobody answers."""
        self._end()
        self.fate.store(None, -1)

    def failure(self, exception: BaseException) -> None:
        """aiokafka's word that it has given up."""
        super().failure(exception)
        for waiter in (self.future, self._drain_waiter):
            # Taken out here, since nobody else may look at it.
            if waiter.done() and not waiter.cancelled():
                waiter.exception()
        if self._end():
            self._ledger.settle_numbers(self, is_certain=self._fail(exception))

    def _fail(self, exception: BaseException) -> bool:
        """Settle; whether it is certain that nothing was stored."""
        code = self.answer or code_of(exception)
        log, first = self.tp, self._was_first
        place, reason = f"{log.topic}[{log.partition}]", reason_of(exception)
        if self.attempts == 0:
            meaning = meaning_of(code)
            self._ledger.fail(
                self,
                lambda: meaning.error(f"never sent to {place}: {reason}; {meaning.remedy}", definite=True),
            )
            return True
        self._ledger.fail(self, lambda: send_error(code, place, reason, exception, was_first=first))
        return send_error(code, place, reason, was_first=first).definite

    def _end(self) -> bool:
        """It leaves aiokafka's hands; whether it had not left them before."""
        if not self.future.done():
            self.future.set_result(None)
        return self._ledger.end(self)


class Ledger:
    """The batches in aiokafka's hands, and how many records are in them."""

    def __init__(self, transactions: Any) -> None:
        self.records = 0
        self.batches: dict[Batch, None] = {}
        self._transactions = transactions
        self._changed: asyncio.Future[None] | None = None

    def begin(self, batch: Batch) -> None:
        """It was made, and is empty still."""
        self.batches[batch] = None

    def end(self, batch: Batch) -> bool:
        """It left aiokafka's hands; whether it was there."""
        if batch not in self.batches:
            return False
        del self.batches[batch]
        self.records -= batch.record_count
        self.wake()
        return True

    def fail(self, batch: Batch, failure: Callable[[], StreamproofError]) -> None:
        """Settle a batch that is not stored, or nobody knows."""
        batch.fate.fail(failure)

    def wake(self) -> None:
        """Let those look again who wait for a change."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def changed(self, timeout_s: float) -> None:
        """Wait until a batch ends, or the bound passes."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._changed], timeout=timeout_s)

    def settle_numbers(self, batch: Batch, *, is_certain: bool) -> None:
        """What a batch that failed means to the numbers of those after it."""
        numbers = self._transactions
        if numbers is None or batch.retry_count == 0:
            # A batch takes its numbers when it is first handed to the sender.
            return
        if is_certain:
            numbers.increment_sequence_number(batch.tp, -batch.record_count)
        elif numbers.has_pid():
            numbers._pid_and_epoch = PidAndEpoch(NO_PRODUCER_ID, NO_PRODUCER_EPOCH)
            numbers._pid_waiter = asyncio.get_running_loop().create_future()
            numbers._sequence_numbers.clear()


class Accumulator(_MessageAccumulator):  # type: ignore[misc]
    """aiokafka's queue of batches, with ours in it."""

    ledger: Ledger

    def take(
        self,
        log: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: list[Any],
    ) -> KafkaAsyncDelivery | None:
        """Add a record to the last batch of its log; ``None`` if that has no room."""
        queue = self._batches.get(log)
        batch: Batch = queue[-1] if queue else self._append_batch(self.create_builder(), log)
        return batch.take(key, value, timestamp_ms, headers)

    @property
    def fatal(self) -> BaseException | None:
        """What ended the sender: nothing is sent any more."""
        error: BaseException | None = self._exception
        return error

    def is_open(self, log: TopicPartition) -> bool:
        """Whether a batch of this log waits for more records."""
        queue = self._batches.get(log)
        return bool(queue) and not queue[-1]._builder._closed

    def _append_batch(self, builder: Any, log: TopicPartition) -> Batch:
        if self._txn_manager is not None:
            self._txn_manager.maybe_add_partition_to_txn(log)
        batch = Batch(log, builder, self._batch_ttl, self._linger_time, self.ledger)
        self.ledger.begin(batch)
        self._batches[log].append(batch)
        self.hurry()
        return batch

    def hurry(self) -> None:
        """Have the sender look."""
        if not self._waiter_future.done():
            self._waiter_future.set_result(None)

    async def drained(self, log: TopicPartition, timeout_s: float) -> None:
        """Wait until the last batch of a log is on its way, or the bound passes."""
        self.hurry()
        queue = self._batches.get(log)
        if queue:
            await asyncio.wait([queue[-1]._drain_waiter], timeout=timeout_s)

    def close_open(self) -> None:
        """Send what lingers now."""
        for queue in self._batches.values():
            for batch in queue:
                batch._builder.close()
        self.hurry()

    def give_up(self, batch: Batch, error: BaseException) -> bool:
        """Fail a batch that waits here; not one that is on its way."""
        queue = self._batches.get(batch.tp)
        if not queue or batch not in queue:
            return False
        queue.remove(batch)
        if not queue:
            del self._batches[batch.tp]
        if batch.retry_count:
            # Where aiokafka's callback on the batch's future looks for it.
            self._pending_batches.add(batch)
        batch.failure(error)
        return True

    @staticmethod
    def age_s(batch: Batch) -> float:
        """Seconds since the batch was made."""
        return time.monotonic() - float(batch._ctime)


class CarefulSender(_Sender):  # type: ignore[misc]
    """aiokafka's sender; its requests can be cancelled, which it cannot do itself."""

    tasks: set["asyncio.Task[Any]"]

    async def _send_produce_req(self, node_id: int, batches: dict[TopicPartition, Batch]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await _Request(self, batches).do(node_id)
        finally:
            self.tasks.discard(task)
            self._in_flight.discard(node_id)
            self._muted_partitions.difference_update(batches)


class _Request(_SendProduceReqHandler):  # type: ignore[misc]
    """One produce request."""

    def create_request(self) -> Any:
        for batch in self._batches.values():
            batch.sending()
        return super().create_request()

    def handle_response(self, response: Any) -> None:
        for topic, partitions in response.topics:
            for partition, code, *_ in partitions:
                batch = self._batches.get(TopicPartition(topic, partition))
                if batch is not None:
                    batch.answer = code
        super().handle_response(response)
