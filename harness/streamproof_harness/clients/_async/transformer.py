"""A transforming process: reads one topic, computes, writes another, in transactions or without."""

import os
import signal
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from streamproof import (
    AsyncBus,
    AsyncConsumer,
    AsyncProducer,
    AsyncTransform,
    Fenced,
    NotAssigned,
    Outgoing,
    ProducerObserver,
    StreamproofError,
    TopicPartition,
    TransactionAborted,
    TransactionUnknown,
)
from streamproof.records import GroupMembership, Record
from streamproof_harness.applications import APPLICATIONS
from streamproof_harness.clients._async.colour import pause_s
from streamproof_harness.clients._async.recorded import AsyncRecordedConsumer, Crash, RecordedReading
from streamproof_harness.clients._async.restoring import outputs_of
from streamproof_harness.clients.findings import Reporter
from streamproof_harness.clients.identity import id_of, is_marker, root_of
from streamproof_harness.clients.plans import Place, Step, TransformPlan
from streamproof_harness.history.recorder import Call, EventRecorder, key_field
from streamproof_harness.mutants._async.seams import AsyncSeams
from streamproof_harness.workloads.workload import ID_HEADER

_ANOTHER_POLL_S = 0.01
_ONCE_MORE = (TransactionAborted, TransactionUnknown, NotAssigned)
_ABORTS: tuple[Step, ...] = ("handled", "produced", "stored")


class PlannedAbort(Exception):
    """The transaction is aborted here because the plan says so."""


class AsyncTransformer:
    """Runs the plan's application until it is stopped or crashes; see :class:`TransformPlan`.

    ``die`` as in :class:`AsyncReader`.
    """

    def __init__(
        self,
        process: str,
        place: Place,
        plan: TransformPlan,
        recorder: EventRecorder,
        reporter: Reporter,
        die: Callable[[], None],
    ) -> None:
        self.process = process
        self.plan = plan
        self.is_crashed = False
        self._seams = AsyncSeams(place, lambda: reporter.struck(process))
        self._recorder = recorder
        self._reporter = reporter
        self._die = die
        self._is_stopping = False
        self._is_to_crash = False
        self._has_hung = False
        self._application = self._seams.application(APPLICATIONS[plan.application](), plan.group)
        self._restored: dict[TopicPartition, int] = {}
        self._batch: list[Record[Any, Any]] = []
        self._outputs = 0
        self._transactions = 0
        self._abort_at: Step = ""
        self._bus: AsyncBus
        self._consumer: AsyncConsumer[Any, Any]
        self._producer: AsyncProducer[Any, Any]

    def stop(self) -> None:
        """Finish the transaction in hand and close; from any thread."""
        self._is_stopping = True

    def order(self, verb: str, argument: object = None) -> None:
        """``crash``, carried out before the next poll."""
        assert verb == "crash", "a transforming process takes no other orders"
        self._is_to_crash = True

    async def run(self) -> None:
        """Transform until stopped. Errors that nobody planned are reported, not raised."""
        try:
            async with await self._seams.bus() as bus:
                self._bus = bus
                await self._open()
                try:
                    await self._work()
                except Crash:
                    self.is_crashed = True
                    self._recorder.note(self.process, "crash")
                except Fenced as error:
                    # Another instance has the id: this one must stop, and nothing of it shows.
                    self._reporter.fenced(self.process, repr(error))
                    await self._close()
                else:
                    await self._close()
        except Exception:
            self._reporter.failed(self.process, traceback.format_exc(limit=-6))
        finally:
            self._reporter.assigned(self.process, 0)
            self._reporter.pending(self.process, 0)

    async def _open(self) -> None:
        plan = self.plan
        fields = {} if plan.transactional_id is None else {"transactional_id": plan.transactional_id}
        self._recorder.note(
            self.process,
            "open",
            role="worker",
            group=plan.group,
            topics=list(plan.topics),
            reset="earliest",
            **fields,
        )
        self._consumer = await self._bus.consumer(
            *plan.topics,
            group=plan.group,
            observer=RecordedReading(self._recorder, self.process, plan.group, self._reporter),
            commit_interval_s=None,
            session_timeout_s=plan.session_timeout_s,
            client_id=self.process,
        )
        options: dict[str, Any] = dict(fields)
        if plan.transactional_id is not None:
            options["transaction_timeout_s"] = plan.transaction_timeout_s
            options["observer"] = RecordedTransactions(self)
        self._producer = await self._bus.producer(**options)

    async def _work(self) -> None:
        plan = self.plan
        if plan.transactional_id is None:
            while not self._is_stopping:
                await self._transform_plainly()
            return
        if plan.polls > 1 or plan.linger_s:
            while not self._is_stopping:
                with suppress(PlannedAbort, *_ONCE_MORE):
                    await self._transact_at_length()
            return
        transform = AsyncTransform(
            self._consumer, self._apply, self._producer, to=plan.to, max_records=plan.max_records
        )
        try:
            while not self._is_stopping:
                if self._is_to_crash:
                    self.die()
                with suppress(PlannedAbort):
                    await transform.run_once(0.1)
        finally:
            await transform.close()

    async def _transact_at_length(self) -> None:
        """One transaction that stays open for a while, and may read on meanwhile. Nothing but its own
        id fences it, so it is for groups that keep their members where members are not fenced."""
        if self._is_to_crash:
            self.die()
        records = await self._consumer.poll(self.plan.max_records, 0.1)
        if not records:
            return
        async with self._producer.transaction(self._consumer) as transaction:
            for left in reversed(range(self.plan.polls)):
                outputs = [output for record in records if (output := await self._apply(record)) is not None]
                if outputs:
                    await transaction.send_many(self.plan.to, outputs)
                    await pause_s(self.plan.linger_s)
                records = await self._consumer.poll(self.plan.max_records, _ANOTHER_POLL_S) if left else []

    async def _close(self) -> None:
        # In this order: what the producer leaves behind is settled before the history says "closed".
        with suppress(Fenced):
            await self._producer.close()
        await AsyncRecordedConsumer(
            self._consumer, self._recorder, self.process, self.plan.group, self._reporter
        ).close()

    def die(self) -> None:
        """Crash: does not return. In this process, what would die with a process goes first."""
        with suppress(StreamproofError):
            self._consumer.vanish()
            self._producer.vanish()
        self._die()

    def reached(self, step: Step) -> None:
        """A step of a transaction is done: abort or crash, if the plan says so here."""
        if step == "polled":
            self._transactions += 1
            self._abort_at = self._drawn_abort()
        elif step == self._abort_at:
            raise PlannedAbort(step)
        is_time = self._transactions >= self.plan.crash_after
        if step == self.plan.crash_at and is_time:
            self.die()
        if step == self.plan.hang_at and is_time and not self._has_hung:
            self._has_hung = True
            self._reporter.hanging(self.process)
            os.kill(os.getpid(), signal.SIGSTOP)

    # -- what is computed ----------------------------------------------------------------------

    async def _apply(self, record: Record[Any, Any]) -> Outgoing[Any, Any] | None:
        id = id_of(record)
        self._batch.append(record)
        if is_marker(id):
            return None
        tenure = self._consumer.tenures.get(record.topic_partition, 0)
        if self._application.keeps_state and self._restored.get(record.topic_partition) != tenure:
            outputs = await outputs_of(self._bus, self.plan.to, record.partition, self.plan.restore_s)
            self._application.restore(record.partition, outputs)
            self._restored[record.topic_partition] = tenure
        output = self._application.apply(record)
        if output.value is None:
            return None
        self._outputs += 1
        own = f"{record.partition}/{self.process}/{self._outputs}"
        if len(self._batch) == 1:
            self.reached("handled")
        if self._abort_at == "handled":
            raise PlannedAbort(own)
        headers = ((ID_HEADER, own.encode()), ("from", id.encode()))
        return Outgoing(output.value, output.key, headers, output.partition)

    def _drawn_abort(self) -> Step:
        """Where this transaction is to be aborted, if it is."""
        one_in = self.plan.abort_one_in
        draw = zlib.crc32(f"{self.process}/{self._transactions}".encode())
        return _ABORTS[draw // one_in % len(_ABORTS)] if one_in and draw % one_in == 0 else ""

    def forget(self) -> None:
        """What was computed did not happen: the state is read again."""
        self._batch.clear()
        self._restored.clear()

    def settle(self) -> None:
        """What was computed stands."""
        done, self._batch = self._batch, []
        for record in done:
            id = id_of(record)
            self._reporter.handled(
                self.plan.group, self.process, id if is_marker(id) else root_of(id), record.key, record.value
            )

    async def _transform_plainly(self) -> None:
        """As it is done without transactions: send, wait, commit. A crash in between repeats."""
        if self._is_to_crash:
            self.die()
        records = await self._consumer.poll(self.plan.max_records, 0.1)
        if not records:
            return
        self.reached("polled")
        outputs = [output for record in records if (output := await self._apply(record)) is not None]
        sent = RecordedSends(self._recorder, self.process, self.plan.to, outputs, None)
        deliveries = await self._producer.send_many(self.plan.to, outputs)
        sent.taken(deliveries)
        self.reached("produced")
        await self._producer.flush()
        try:
            await self._consumer.ack(records)
            self.reached("committing")
            await self._consumer.commit()
        except NotAssigned:
            self.forget()  # another member gets them again
            return
        self.reached("committed")
        self.settle()


class RecordedTransactions(ProducerObserver):
    """Notes a transforming process' transactions, and tells it how far they are."""

    def __init__(self, transformer: AsyncTransformer) -> None:
        self._transformer = transformer
        self._recorder = transformer._recorder
        self._process = transformer.process
        self._to = transformer.plan.to
        self._id = ""
        self._txn = ""
        self._count = 0
        self._call: Call | None = None
        self._sends: RecordedSends | None = None

    def init_begins(self, transactional_id: str) -> None:
        self._call = self._recorder.invoke_init(self._process, transactional_id)

    def init_ends(self, error: StreamproofError | None) -> None:
        assert self._call is not None
        if error is None:
            self._recorder.ok_init(self._call)
        else:
            self._badly(self._call, error)

    def transaction_begins(self, transactional_id: str, consumers: Sequence[Any]) -> None:
        self._id = transactional_id
        self._count += 1
        self._txn = f"{self._process}/{self._count}"
        begun = self._recorder.invoke_begin(self._process, self._txn, self._id, [self._process])
        self._recorder.ok(begun)
        self._transformer.reached("polled")

    def sends_begin(self, topic: str, records: Sequence[Outgoing[Any, Any]]) -> None:
        self._sends = RecordedSends(self._recorder, self._process, topic, records, self._txn)

    def sends_taken(self, deliveries: Sequence[Any]) -> None:
        assert self._sends is not None
        self._sends.taken(deliveries)
        self._transformer.reached("produced")

    def offsets_begin(self, member: GroupMembership, offsets: Mapping[TopicPartition, int]) -> None:
        places = [(log.topic, log.partition, offset) for log, offset in offsets.items()]
        self._call = self._recorder.invoke_commit(
            self._process, self._transformer.plan.group, places, txn=self._txn
        )

    def offsets_end(self, error: StreamproofError | None) -> None:
        assert self._call is not None
        if error is not None:
            self._badly(self._call, error)
            return
        self._recorder.ok(self._call)
        self._transformer.reached("stored")

    def end_begins(self, is_commit: bool) -> None:
        self._is_commit = is_commit
        self._call = self._recorder.invoke_end(self._process, self._txn, self._id, is_commit)
        if is_commit:
            self._transformer.reached("committing")

    def end_ends(self, error: StreamproofError | None) -> None:
        assert self._call is not None
        if error is not None:
            self._badly(self._call, error)
            self._transformer.forget()
            return
        self._recorder.ok(self._call)
        if not self._is_commit:
            self._transformer.forget()
            return
        self._transformer.reached("committed")
        self._transformer.settle()

    def _badly(self, call: Call, error: StreamproofError) -> None:
        (self._recorder.fail if error.definite else self._recorder.info)(call, error)


class RecordedSends:
    """The sends of one batch, in the history."""

    def __init__(
        self,
        recorder: EventRecorder,
        process: str,
        topic: str,
        records: Iterable[Outgoing[Any, Any]],
        txn: str | None,
    ) -> None:
        self._recorder = recorder
        self._calls = [self._invoke(process, topic, record, txn) for record in records]

    def _invoke(self, process: str, topic: str, record: Outgoing[Any, Any], txn: str | None) -> Call:
        own, origin = ((value or b"").decode() for _, value in record.headers)
        fields: dict[str, Any] = {} if txn is None else {"txn": txn}
        if record.partition is not None:
            fields["partition"] = record.partition
        # The serial number rises over all of the process' sends, and so for each key.
        number = int(own.rpartition("/")[2])
        crc = zlib.crc32(record.value)
        return self._recorder.invoke_send(
            process, topic, own, key_field(record.key), number, crc, from_ids=[origin], **fields
        )

    def taken(self, deliveries: Iterable[Any]) -> None:
        """Note each outcome as it comes."""
        for call, delivery in zip(self._calls, deliveries, strict=True):
            delivery.add_done_callback(lambda settled, call=call: self._settled(settled, call))

    def _settled(self, delivery: Any, call: Call) -> None:
        receipt = delivery.receipt
        if receipt is not None:
            self._recorder.ok_send(call, receipt.partition, receipt.offset)
        elif delivery.error.definite:
            self._recorder.fail(call, delivery.error)
        else:
            self._recorder.info(call, delivery.error)
