"""A consuming process: one member of a group, or a reader on its own."""

import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from streamproof import AsyncBus, AsyncConsumer, AsyncProducer
from streamproof.delivery import AsyncSqliteStore, AsyncWorker
from streamproof.records import Position, Record
from streamproof_harness.clients._async.buried import AsyncRecordedBurials
from streamproof_harness.clients._async.colour import pause_s
from streamproof_harness.clients._async.recorded import (
    AsyncRecordedConsumer,
    Crash,
    RecordedReading,
    RecordedWork,
)
from streamproof_harness.clients.databases import database
from streamproof_harness.clients.findings import Reporter
from streamproof_harness.clients.identity import id_of, root_of
from streamproof_harness.clients.plans import Place, ReaderPlan
from streamproof_harness.history.recorder import EventRecorder
from streamproof_harness.mutants._async.seams import AsyncSeams

_DYING_S = 0.1
"""How long a handler is at work before it dies. An acknowledgement that no answer follows must have
been taken in by then, or its record comes again: the kernel of a process that is killed throws away
what was sent and not read yet, if there was something to receive."""


class PlannedFailure(Exception):
    """The handler fails here because the plan says so."""


class AsyncReader:
    """Handles records as its plan says, until it is stopped or crashes.

    ``die`` is what a crash does: it does not return. Where a process of the operating system can
    be killed it kills that; else it raises :class:`Crash`, and the client is abandoned.
    """

    def __init__(
        self,
        process: str,
        place: Place,
        plan: ReaderPlan,
        recorder: EventRecorder,
        reporter: Reporter,
        die: Callable[[], None],
    ) -> None:
        self.process = process
        self._seams = AsyncSeams(place, lambda: reporter.struck(process))
        self.plan = self._seams.plan(plan)
        self._recorder = recorder
        self._reporter = reporter
        self._die = die
        self._orders: deque[tuple[str, Any]] = deque()
        self._is_stopping = False
        self._handled = 0
        self._store = AsyncSqliteStore(database(plan.marks)) if plan.marks else None
        self._is_repeated = False
        self.is_crashed = False

    @property
    def group(self) -> str:
        """The group; a reader on its own is one of its own."""
        return self.plan.group or self.process

    def stop(self) -> None:
        """Finish the record in hand and close; from any thread."""
        self._is_stopping = True

    def order(self, verb: str, argument: Position | None = None) -> None:
        """``pause``, ``resume``, ``seek`` or ``crash``, carried out before the next poll."""
        self._orders.append((verb, argument))

    async def run(self) -> None:
        """Read until stopped. Errors that nobody planned are reported, not raised."""
        try:
            async with await self._seams.bus() as bus:
                await self._run_on(bus)
        except Exception:
            self._reporter.failed(self.process, traceback.format_exc(limit=-6))
        finally:
            if self._store is not None:
                await self._store.close()
            self._reporter.assigned(self.process, 0)
            self._reporter.pending(self.process, 0)

    async def _run_on(self, bus: AsyncBus) -> None:
        fields: dict[str, Any] = {"topics": list(self.plan.topics), "reset": self.plan.start}
        if self.plan.group is not None and bus.capabilities.acknowledgement == "message":
            fields["prefetch"] = self.plan.prefetch
        self._recorder.note(self.process, "open", role="consumer", group=self.group, **fields)
        consumer = await self._consumer(bus)
        try:
            burials = await bus.producer() if self.plan.dead_letter is not None else None
            await self._work(consumer, burials)
        except Crash:
            self.is_crashed = True
            self._recorder.note(self.process, "crash")
            consumer.vanish()
            return
        await self._recorded(consumer).close()

    async def _consumer(self, bus: AsyncBus) -> AsyncConsumer[Any, Any]:
        plan = self.plan
        observer = RecordedReading(self._recorder, self.process, plan.group, self._reporter)
        consumer = await bus.consumer(
            *plan.topics,
            group=plan.group,
            observer=observer,
            start=plan.start,
            order=plan.order,
            prefetch=plan.prefetch,
            commit_interval_s=plan.commit_interval_s,
            session_timeout_s=plan.session_timeout_s,
            client_id=self.process,
        )
        return self._seams.client(consumer, plan.group)

    async def _work(
        self, consumer: AsyncConsumer[Any, Any], producer: AsyncProducer[Any, Any] | None
    ) -> None:
        plan = self.plan
        recorded = self._recorded(consumer)
        burials = None
        if producer is not None:
            burials = AsyncRecordedBurials(self._seams.sink(producer), self._recorder, self.process)
        worker = AsyncWorker(
            self._seams.source(recorded, plan.group),
            self._handle,
            group=self.group,
            retry=plan.retry.policy(),
            dead_letter=plan.dead_letter,
            producer=burials,
            observer=RecordedWork(
                self._recorder,
                self.process,
                self.group,
                self._reporter,
                self._after_handled,
                lambda: self._is_repeated,
            ),
            acknowledges=self._acknowledges(),
            max_records=plan.max_records,
        )
        pending = 0
        while not self._is_stopping:
            while self._orders:
                await self._obey(recorded, consumer, *self._orders.popleft())
            await worker.run_once(0.1)
            if consumer.in_flight != pending:
                pending = consumer.in_flight
                self._reporter.pending(self.process, pending)

    def _acknowledges(self) -> Literal["after", "before", "never"]:
        if self.plan.group is None:
            return "never"
        return "before" if self.plan.acknowledges_first else "after"

    async def _obey(
        self, recorded: AsyncRecordedConsumer, consumer: AsyncConsumer[Any, Any], verb: str, argument: Any
    ) -> None:
        if verb == "pause":
            await consumer.pause()
        elif verb == "resume":
            await consumer.resume()
        elif verb == "seek":
            await recorded.seek(argument)
        else:
            self._die()

    async def _handle(self, record: Record[Any, Any]) -> None:
        if self.plan.acknowledges_first:
            if self._handled + 1 == self.plan.crash_after:
                await pause_s(_DYING_S)
            self._count_towards_crash()
        if self.plan.handle_s:
            await pause_s(self.plan.handle_s)
        if self.plan.failures.fails(root_of(id_of(record)), record.attempt):
            raise PlannedFailure("the plan says so")
        if self._store is not None:
            async with self._store.once(f"{self.group}/{root_of(id_of(record))}") as effect:
                self._is_repeated = effect is None

    def _after_handled(self) -> None:
        if not self.plan.acknowledges_first:
            self._count_towards_crash()

    def _count_towards_crash(self) -> None:
        self._handled += 1
        if self._handled == self.plan.crash_after:
            self._die()

    def _recorded(self, consumer: AsyncConsumer[Any, Any]) -> AsyncRecordedConsumer:
        return AsyncRecordedConsumer(consumer, self._recorder, self.process, self.group, self._reporter)
