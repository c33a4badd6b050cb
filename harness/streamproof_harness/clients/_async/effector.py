"""A transforming process without transactions of the broker: its database's take their place."""

import sqlite3
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from streamproof import AsyncBus, AsyncConsumer, AsyncProducer, NotAssigned, StreamproofError
from streamproof.delivery import AsyncRelay, AsyncSqliteOutbox, AsyncSqliteStore
from streamproof.records import Record
from streamproof_harness.applications import APPLICATIONS
from streamproof_harness.clients._async.recorded import (
    AsyncRecordedConsumer,
    Crash,
    RecordedReading,
    RecordedWork,
)
from streamproof_harness.clients._async.relayed import AsyncRecordedRelaying
from streamproof_harness.clients.databases import database
from streamproof_harness.clients.findings import Reporter
from streamproof_harness.clients.identity import id_of, is_marker, root_of
from streamproof_harness.clients.plans import EffectPlan, Place, Step
from streamproof_harness.history.recorder import EventRecorder
from streamproof_harness.mutants._async.seams import AsyncSeams
from streamproof_harness.workloads.workload import ID_HEADER

_TABLES = """
    CREATE TABLE IF NOT EXISTS outputs
        (input TEXT, partition INTEGER, key BLOB, value BLOB, PRIMARY KEY (input, partition, key));
    CREATE TABLE IF NOT EXISTS writers
        (input TEXT, partition INTEGER, writer TEXT, PRIMARY KEY (input, partition));
"""


class AsyncEffector:
    """Handles each record once: in one transaction of the database it marks the record, goes on with
    the application's state, and leaves the output in an outbox. Afterwards it acknowledges, and
    publishes what the outbox holds. Whatever is repeated after a crash has its mark, or its id.

    ``die`` as in :class:`AsyncReader`.
    """

    def __init__(
        self,
        process: str,
        place: Place,
        plan: EffectPlan,
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
        self._application = APPLICATIONS[plan.application]()
        self._handled = 0
        self._is_repeated = False
        self._consumer: AsyncConsumer[Any, Any]

    def stop(self) -> None:
        """Finish the batch in hand and close; from any thread."""
        self._is_stopping = True

    def order(self, verb: str, argument: object = None) -> None:
        """``crash``, carried out before the next poll."""
        assert verb == "crash", "a transforming process takes no other orders"
        self._is_to_crash = True

    async def run(self) -> None:
        """Work until stopped. Errors that nobody planned are reported, not raised."""
        try:
            async with await self._seams.bus() as bus:
                await self._run_on(bus)
        except Exception:
            self._reporter.failed(self.process, traceback.format_exc(limit=-6))
        finally:
            self._reporter.assigned(self.process, 0)
            self._reporter.pending(self.process, 0)

    async def _run_on(self, bus: AsyncBus) -> None:
        plan = self.plan
        self._recorder.note(
            self.process, "open", role="worker", group=plan.group, topics=list(plan.topics), reset="earliest"
        )
        self._consumer = await bus.consumer(
            *plan.topics,
            group=plan.group,
            observer=RecordedReading(self._recorder, self.process, plan.group, self._reporter),
            session_timeout_s=plan.session_timeout_s,
            commit_interval_s=0.2,
            client_id=self.process,
        )
        consumer = AsyncRecordedConsumer(
            self._consumer, self._recorder, self.process, plan.group, self._reporter
        )
        producer = await bus.producer()
        outbox = AsyncSqliteOutbox(database(plan.database), table=f"{plan.group}_outbox".replace("-", "_"))
        store = AsyncSqliteStore(database(plan.database))
        sink = self._relaying(producer)
        try:
            while not self._is_stopping:
                await self._work(consumer, store, outbox)
                await self._publish(outbox, sink)
            while await self._publish(outbox, sink):
                pass
        except Crash:
            self.is_crashed = True
            self._recorder.note(self.process, "crash")
            return
        finally:
            await store.close()
        await consumer.close()

    def _relaying(self, producer: AsyncProducer[Any, Any]) -> AsyncRecordedRelaying:
        return AsyncRecordedRelaying(
            producer, self._recorder, self.process, lambda: self._reached("produced")
        )

    async def _work(
        self,
        consumer: AsyncRecordedConsumer,
        store: AsyncSqliteStore,
        outbox: AsyncSqliteOutbox,
    ) -> None:
        if self._is_to_crash:
            self._crash()
        work = RecordedWork(
            self._recorder,
            self.process,
            self.plan.group,
            self._reporter,
            lambda: None,
            lambda: self._is_repeated,
        )
        records = await consumer.poll(self.plan.max_records, 0.05)
        if records:
            self._reached("polled")
        for record in records:
            work.handling(record)
            await self._handle(record, store, outbox)
            work.handled(record)
            self._reached("stored")
            with suppress(NotAssigned):
                await consumer.ack(record)
            self._reached("committed")

    async def _publish(self, outbox: AsyncSqliteOutbox, sink: AsyncRecordedRelaying) -> int:
        """Publish some of what the outbox holds, if no other process is at it: each has its turns."""
        relay = AsyncRelay(outbox, sink, order="key", max_records=200)
        try:
            return await relay.run_once()
        except StreamproofError as error:
            if not error.retriable:
                raise
            return 0
        finally:
            await relay.close()

    async def _handle(
        self, record: Record[Any, Any], store: AsyncSqliteStore, outbox: AsyncSqliteOutbox
    ) -> None:
        root = root_of(id_of(record))
        self._is_repeated = False
        if is_marker(root):
            return
        async with store.once(f"{self.plan.group}/{root}") as connection:
            self._is_repeated = connection is None
            if connection is None:
                return
            self._handled += 1
            self._read_state(connection, record)
            output = self._application.apply(record)
            if output is None:
                return
            connection.execute(
                "INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?)",
                (record.topic, record.partition, output.key, output.value),
            )
            own = f"{record.partition}/{self.plan.group}/{root}"
            headers = ((ID_HEADER, own.encode()), ("from", id_of(record).encode()))
            await outbox.add(connection, self.plan.to, output.value, key=output.key, headers=headers)
            self._reached("handled")

    def _read_state(self, connection: sqlite3.Connection, record: Record[Any, Any]) -> None:
        """The state of this partition, if another process wrote it since we did: within the
        transaction, so that a process that hung and woke up cannot go on from what it remembers."""
        place = record.topic, record.partition
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        found = connection.execute(
            "SELECT writer FROM writers WHERE input = ? AND partition = ?", place
        ).fetchone()
        if found == (self.process,):
            return
        rows = connection.execute(
            "SELECT key, value FROM outputs WHERE input = ? AND partition = ?", place
        ).fetchall()
        outputs = [Record(self.plan.to, record.partition, None, key, value) for key, value in rows]
        self._application.restore(record.partition, outputs)
        connection.execute("INSERT OR REPLACE INTO writers VALUES (?, ?, ?)", (*place, self.process))

    def _reached(self, step: Step) -> None:
        if step == self.plan.crash_at and self._handled >= self.plan.crash_after:
            self._crash()

    def _crash(self) -> None:
        with suppress(StreamproofError):
            self._consumer.vanish()
        self._die()
