"""A consumer whose calls are written into the history, and the observers that go with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamproof import AsyncConsumer, ConsumerObserver, NotAssigned, StreamproofError, TopicPartition
from streamproof.delivery import WorkObserver
from streamproof.records import Position, RawRecord, Record
from streamproof_harness.clients.findings import Reporter
from streamproof_harness.clients.identity import AMOUNT_HEADER, id_of, is_marker, polled_fields, root_of
from streamproof_harness.history.recorder import Call, EventRecorder


class Crash(BaseException):
    """The process dies here. Not an ``Exception``: nothing that handles errors may catch it."""


class RecordedReading(ConsumerObserver):
    """Notes assignments, polls and commits of one reader.

    A history's ``poll`` is what came from the backend. What a consumer delivers again from its own
    store, after a ``nack``, shows in the history as a further ``handle`` of the record.
    """

    def __init__(self, recorder: EventRecorder, process: str, group: str | None, reporter: Reporter) -> None:
        self._recorder = recorder
        self._process = process
        self._group = {} if group is None else {"group": group}
        self._reporter = reporter
        self._held: set[TopicPartition] = set()
        # A commit that waits for its answer can be overtaken by one that a rebalance asks for.
        self._commits: list[Call] = []
        self._poll: Call | None = None

    def assigned(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        fields = self._fields(generation, partitions)
        if positions:
            fields["positions"] = [[log.topic, log.partition, offset] for log, offset in positions.items()]
        self._recorder.note(self._process, "assign", **fields)
        self._held = set(partitions)
        self._reporter.assigned(self._process, len(self._held))

    def revoked(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self._gone("revoke", generation, partitions)

    def lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self._gone("lost", generation, partitions)

    def taken_over(self, positions: Mapping[TopicPartition, int]) -> None:
        places = [[log.topic, log.partition, offset] for log, offset in positions.items()]
        self._recorder.ok(self._recorder.invoke(self._process, "seek", offsets=places))

    def fetch_begins(self) -> None:
        self._poll = self._recorder.invoke_poll(self._process, self._group.get("group", self._process))

    def fetch_ends(self, records: Sequence[RawRecord], error: StreamproofError | None) -> None:
        assert self._poll is not None
        if error is not None:
            self._recorder.fail(self._poll, error)
            return
        self._recorder.ok_poll(self._poll, [polled_fields(record) for record in records])
        if records:
            self._reporter.polled(self._process, len(records))

    def commit_begins(self, generation: int | None, offsets: Mapping[TopicPartition, int]) -> None:
        fields: dict[str, Any] = {} if generation is None else {"generation": generation}
        places = [[log.topic, log.partition, offset] for log, offset in offsets.items()]
        call = self._recorder.invoke(self._process, "commit", offsets=places, **fields, **self._group)
        self._commits.append(call)

    def commit_ends(self, error: StreamproofError | None) -> None:
        call = self._commits.pop()
        if error is None:
            self._recorder.ok(call)
        elif error.definite and isinstance(error, NotAssigned):
            self._recorder.fail(call, error)
        else:
            self._recorder.info(call, error)

    def _gone(self, op: str, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self._recorder.note(self._process, op, **self._fields(generation, partitions))
        self._held.difference_update(partitions)
        self._reporter.assigned(self._process, len(self._held))

    def _fields(self, generation: int | None, partitions: Sequence[TopicPartition]) -> dict[str, Any]:
        fields: dict[str, Any] = {"partitions": [list(log) for log in sorted(partitions)]}
        fields["group"] = self._group.get("group", self._process)
        if generation is not None:
            fields["generation"] = generation
        return fields


class RecordedWork(WorkObserver):
    """Notes what a worker does with each record."""

    def __init__(
        self,
        recorder: EventRecorder,
        process: str,
        group: str,
        reporter: Reporter,
        after_handled: Callable[[], None],
        is_repeated: Callable[[], bool] = lambda: False,
    ) -> None:
        self._recorder = recorder
        self._process = process
        self._group = group
        self._reporter = reporter
        self._after_handled = after_handled
        self._is_repeated = is_repeated
        self._handling: Call | None = None

    def handling(self, record: Record[Any, Any]) -> None:
        self._handling = self._recorder.invoke(
            self._process, "handle", **self._place(record), attempt=record.attempt
        )

    def handled(self, record: Record[Any, Any]) -> None:
        assert self._handling is not None
        id = id_of(record)
        amount = record.header(AMOUNT_HEADER)
        fields: dict[str, Any] = {} if amount is None else {"amount": int(amount)}
        is_effective = is_marker(id) or not self._is_repeated()
        if is_effective and not is_marker(id):
            # What a handler does for a message is one effect, however often it is sent or handled.
            fields["effect"] = root_of(id)
        self._recorder.ok(self._handling, **fields)
        if is_effective:
            self._reporter.handled(self._group, self._process, id, record.key, record.value)
        self._after_handled()

    def failed(self, record: Record[Any, Any], error: Exception) -> None:
        assert self._handling is not None
        self._recorder.fail(self._handling, error)

    def died(self, record: Record[Any, Any], topic: str, error: Exception) -> None:
        id = id_of(record)
        self._recorder.note(
            self._process,
            "dead-letter",
            group=self._group,
            id=id,
            topic=record.topic,
            attempt=record.attempt,
            reason=type(error).__name__,
            to=topic,
        )
        self._reporter.buried(self._group, root_of(id))

    def _place(self, record: Record[Any, Any]) -> dict[str, Any]:
        return {
            "group": self._group,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "id": id_of(record),
        }


class AsyncRecordedConsumer:
    """A consumer, every call of which leaves its events in the history."""

    def __init__(
        self,
        consumer: AsyncConsumer[Any, Any],
        recorder: EventRecorder,
        process: str,
        group: str,
        reporter: Reporter,
    ) -> None:
        self._consumer = consumer
        self._recorder = recorder
        self._process = process
        self._group = group
        self._reporter = reporter

    async def poll(self, max_records: int = 500, timeout_s: float = 1.0) -> list[Record[Any, Any]]:
        """Poll; the observer notes what was fetched for it."""
        return await self._consumer.poll(max_records, timeout_s)

    async def ack(self, *records: Record[Any, Any]) -> None:
        """Acknowledge, one event a record."""
        for record in records:
            call = self._invoke("ack", record)
            try:
                await self._consumer.ack(record)
            except StreamproofError as error:
                self._complete_badly(call, error)
                raise
            self._recorder.ok(call)

    async def nack(self, record: Record[Any, Any], delay_s: float = 0.0) -> None:
        """Give back."""
        call = self._invoke("nack", record, delay_ns=int(delay_s * 1e9))
        try:
            await self._consumer.nack(record, delay_s)
        except StreamproofError as error:
            self._complete_badly(call, error)
            raise
        self._recorder.ok(call)

    async def commit(self) -> None:
        """Store progress; the observer notes it."""
        await self._consumer.commit()

    def is_held(self, record: Record[Any, Any]) -> bool:
        """See the consumer."""
        return self._consumer.is_held(record)

    async def seek(self, to: Position) -> None:
        """Move every log held, and note where to."""
        await self._consumer.seek(to)
        # Only now is it known which offsets an end or a time means; nothing was polled meanwhile.
        places = [
            [log.topic, log.partition, await self._consumer.position(log)]
            for log in self._consumer.assignment()
        ]
        self._recorder.ok(self._recorder.invoke(self._process, "seek", offsets=places))

    async def close(self, timeout_s: float = 15.0) -> None:
        """Close, and note it."""
        call = self._recorder.invoke(self._process, "close", role="consumer", group=self._group)
        try:
            await self._consumer.close(timeout_s)
        except StreamproofError as error:
            self._recorder.info(call, error)
            raise
        self._recorder.ok(call)

    def _invoke(self, op: str, record: Record[Any, Any], **fields: Any) -> Call:
        return self._recorder.invoke(
            self._process,
            op,
            group=self._group,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            id=id_of(record),
            **fields,
        )

    def _complete_badly(self, call: Call, error: StreamproofError) -> None:
        (self._recorder.fail if error.definite else self._recorder.info)(call, error)
