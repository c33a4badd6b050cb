"""Reading over aiokafka.

aiokafka fetches in tasks of its own; a poll takes what is there. ``getmany`` is not used: cancelled
or failing, it leaves the consumer counted as one that polls for ever, so that it is never taken out
of its group. Nothing waits between taking records and returning them, so a cancelled poll loses
none.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as native_errors
from aiokafka.consumer import fetcher as native_fetcher

from streamproof.driver import AsyncAssignmentListener
from streamproof.drivers.kafka.group import NO_GENERATION, HeldLogs
from streamproof.drivers.kafka_aiokafka.admin import AiokafkaAdmin
from streamproof.drivers.kafka_aiokafka.client import (
    FOREIGN,
    Deadline,
    adopt,
    bounded,
    ended,
    finished,
    made,
    reason_of,
    translated,
)
from streamproof.drivers.kafka_aiokafka.rebalance import (
    Begins,
    Handover,
    WholeMatch,
    assignor_of,
    commit_once,
    retire,
)
from streamproof.drivers.kafka_aiokafka.settings import Settings
from streamproof.errors import (
    Closed,
    NotAssigned,
    OffsetOutOfRange,
    StreamproofError,
    TimedOut,
    Unsupported,
)
from streamproof.options import ConsumerOptions
from streamproof.records import (
    AtTime,
    GroupMembership,
    Position,
    RawRecord,
    Record,
    TopicPartition,
    Watermarks,
)

_log = logging.getLogger("streamproof.kafka")

_SLICE_S = 0.1
_ASSIGN_S = 10.0
"""For finding out where to begin in new logs; a rebalance waits for it."""
_WATCH_S = 1.0
_BETWEEN_COMMITS_S = 0.05
_LEAST_S = 0.5

_PLACES: dict[str, Position] = {"earliest": "beginning", "latest": "end"}
_FetchResult: Any = native_fetcher.FetchResult
_FetchError: Any = native_fetcher.FetchError
_COORDINATOR_TASKS = (
    "_coordination_task",
    "_heartbeat_task",
    "_commit_refresh_task",
    "_reset_committed_task",
)


class AiokafkaConsumer:
    """See :class:`~streamproof.driver.AsyncConsumerDriver`."""

    def __init__(
        self,
        settings: Settings,
        options: ConsumerOptions,
        admin: AiokafkaAdmin,
        closed: "Callable[[AiokafkaConsumer], None]",
    ) -> None:
        self._options = options
        self._admin = admin
        self._closed = closed
        assignor = assignor_of(str(settings["partition_assignment_strategy"]))
        settings = {**settings, "partition_assignment_strategy": (assignor,)}
        self.native: Any = made(AIOKafkaConsumer, settings)
        adopt(self.native._client, wants_all=options.pattern is not None)
        self._state: Any = self.native._subscription
        self._session_s = options.session_timeout_s
        self._handover = Handover(
            self._generation,
            lambda: len(self._held) > 0,
            self._place,
            self._ring,
            options.max_poll_interval_s,
        )
        self._listener: AsyncAssignmentListener | None = None
        self._held = HeldLogs()
        self._told_generation = NO_GENERATION
        self._begins: dict[TopicPartition, int] = {}
        self._undecided: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._out_of_range: dict[TopicPartition, BaseException] = {}
        self._bell: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._news: dict[str, int] | None = None
        self._is_started = False
        self._is_closed = False

    # -- beginning and end -----------------------------------------------------------------

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        """See the Protocol."""
        self._listener = listener
        deadline = Deadline(timeout_s)
        counts: dict[str, int] = {}
        if self._options.pattern is None:
            counts = await self._admin.partitions_of(self._options.topics, deadline.left_s)
        await bounded(self.native.start(), "the consumer cannot connect", deadline)
        self._is_started = True
        if self._options.group is not None:
            self._subscribe()
            return
        if self._options.pattern is not None:
            counts = await self._matching(deadline.left_s)
            self._watch = asyncio.ensure_future(self._keep_watch())
        await self._read_alone(counts, deadline.left_s)

    def _subscribe(self) -> None:
        if self._options.pattern is None:
            self.native.subscribe(topics=list(self._options.topics), listener=self._handover)
        else:
            self._state.subscribe_pattern(WholeMatch(self._options.pattern), self._handover)
            self.native._client.set_topics([])

    async def _read_alone(self, topics: Mapping[str, int], timeout_s: float) -> None:
        """Take every partition that is not held yet."""
        every = {TopicPartition(name, index) for name, count in topics.items() for index in range(count)}
        new = [log for log in sorted(every) if log not in self._held]
        if not new:
            return
        begins = await self._starts_of(new, timeout_s)
        # No waiting from here on: the library forgets all places with each assignment.
        places = {log: self._position_now(log) for log in self._held.all}
        self.native.assign([*self._held.all, *new])
        self._begins.update(begins)
        self._held.add(new)
        for log, offset in {**places, **begins}.items():
            if offset is not None:
                self.native.seek(log, offset)
        if self._paused:
            self.native.pause(*self._paused)
        await self._told.on_assign(None, self._held.all, begins)

    async def _matching(self, timeout_s: float) -> dict[str, int]:
        pattern = WholeMatch(str(self._options.pattern))
        counts = await self._admin.partition_counts(None, timeout_s)
        return {name: count for name, count in counts.items() if pattern.match(name)}

    async def _keep_watch(self) -> None:
        """Look for topics that match since."""
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                self._news = await self._matching(_WATCH_S)
            except StreamproofError as cause:
                _log.debug("the topics could not be listed: %s", cause)

    async def close(self, timeout_s: float) -> None:
        """See the Protocol."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = Deadline(timeout_s)
        try:
            if self._watch is not None:
                await ended([self._watch], _LEAST_S)
            if len(self._held) and self._options.group is not None:
                await self._give_back()
        finally:
            self._handover.end()
            await self._end(deadline)
            self._closed(self)

    async def _end(self, deadline: Deadline) -> None:
        """Stop the library; its own close knows no bound, and would wait for all the other members
        while a join is under way."""
        coordinator, group = self.native._coordinator, self._options.group
        if coordinator is not None and group is not None:
            member_id = coordinator.member_id
            await finished(retire(coordinator), max(_LEAST_S, deadline.left_s), "stopping the group's tasks")
            if member_id and coordinator._group_instance_id is None:
                call = self._admin.leave(group, member_id, max(_LEAST_S, deadline.left_s))
                await finished(call, max(_LEAST_S, deadline.left_s), "leaving the group")
        if await finished(self.native.stop(), max(_LEAST_S, deadline.left_s), "closing the consumer"):
            return
        tasks = [getattr(coordinator, name, None) for name in _COORDINATOR_TASKS]
        fetcher = self.native._fetcher
        if fetcher is not None:
            tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
        await ended([task for task in tasks if task is not None], _LEAST_S)
        await finished(self.native._client.close(), _LEAST_S, "closing the consumer's connections")

    # -- reading ---------------------------------------------------------------------------

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        await asyncio.sleep(0)
        while True:
            self._require_open()
            self._is_polling()
            await self._look_after(max(_SLICE_S, deadline.left_s))
            records = self._drained(max_records)
            if records or (deadline.is_over and not self._out_of_range):
                self._is_polling()
                return records
            if not self._out_of_range:
                await self._wait(min(deadline.left_s, _SLICE_S))

    def _is_polling(self) -> None:
        """Tell the library that there is somebody: its heartbeats end the membership of the idle."""
        with self._state.fetch_context():
            pass

    async def _look_after(self, patience_s: float) -> None:
        """What is to be done before reading on."""
        if self._options.group is not None:
            await self._follow_group()
        elif self._news is not None:
            topics, self._news = self._news, None
            await self._read_alone(topics, _ASSIGN_S)
        if self._undecided:
            await self._decide(patience_s)
        if self._out_of_range:
            await self._raise_out_of_range()

    def _drained(self, max_records: int) -> list[RawRecord]:
        """What was fetched, without waiting."""
        if not len(self._held) or self._state.reassignment_in_progress:
            return []
        fetcher = self.native._fetcher
        records: list[RawRecord] = []
        for log in list(fetcher._records):
            # The library has a place of its own for a log whose place is not decided yet: not ours.
            if log in self._paused or log in self._undecided or len(records) >= max_records:
                continue
            try:
                records += _taken(fetcher, log, max_records - len(records))
            except FOREIGN as cause:
                # An error comes up again, or was noted; records do not.
                self._note(log, cause)
                if not records and log not in self._out_of_range:
                    raise translated(cause, f"{log.topic}[{log.partition}] cannot be read") from cause
                break
        return records

    async def _wait(self, timeout_s: float) -> None:
        """Until records come, the coordinator has something to say, or the bound passes."""
        self._bell = asyncio.get_running_loop().create_future()
        arrived = self.native._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([self._bell, arrived], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._bell = None
            if arrived.done() and not arrived.cancelled():
                arrived.exception()
            arrived.cancel()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def _note(self, log: TopicPartition, cause: BaseException) -> None:
        if isinstance(cause, native_errors.OffsetOutOfRangeError):
            self._out_of_range[log] = cause

    async def _raise_out_of_range(self) -> None:
        """Say what is there, as far as the brokers tell it."""
        log, cause = next(iter(self._out_of_range.items()))
        first: int | None = None
        try:
            first = (await self._admin.offsets_at((log,), "beginning", "read_uncommitted", 1.0))[log]
        except StreamproofError as failure:
            _log.debug("the start of %s is not known: %s", log, failure)
        raise OffsetOutOfRange(
            f"{log.topic}[{log.partition}] cannot be read on: {reason_of(cause)}; its first offset is "
            f"{'not known' if first is None else first}: seek before reading on",
            log_start=first,
        ) from cause

    # -- logs come and go ------------------------------------------------------------------

    @property
    def _told(self) -> AsyncAssignmentListener:
        assert self._listener is not None
        return self._listener

    def _generation(self) -> int:
        coordinator = self.native._coordinator
        return NO_GENERATION if coordinator is None else int(coordinator.generation)

    async def _follow_group(self) -> None:
        """Tell the listener what has happened, and raise what the coordinator complains of."""
        if len(self._held) and (self._handover.is_revoking or self._is_lost()):
            await self._give_back()
        elif self._handover.is_overdue:
            self._handover.let_go()
        assigned = self._handover.take()
        if assigned is not None:
            self._told_generation = assigned.generation
            self._held.add(assigned.partitions)
            self._begins = dict(assigned.begins)
            self._undecided = set(assigned.partitions).difference(assigned.begins)
            await self._told.on_assign(assigned.generation, self._held.all, assigned.begins)
        try:
            self.native._coordinator.check_errors()
        except FOREIGN as cause:
            raise translated(cause, f"group {self._options.group} cannot be joined") from cause

    def _is_lost(self) -> bool:
        """Whether the membership under which the logs were assigned is over."""
        return self._handover.is_overdue or self._generation() != self._told_generation

    async def _give_back(self) -> None:
        """Tell the listener that all logs go: in an orderly way, if the group still counts on us."""
        logs, generation = self._held.all, self._told_generation
        try:
            if self._is_lost():
                self._forget(logs)
                await self._told.on_lost(generation, logs)
            else:
                await self._told.on_revoke(generation, logs)
        finally:
            self._forget(logs)
            self._handover.let_go()

    def _forget(self, logs: Iterable[TopicPartition]) -> None:
        self._held.remove(logs)
        self._paused.difference_update(logs)
        self._undecided.difference_update(logs)
        for log in logs:
            self._begins.pop(log, None)
            self._out_of_range.pop(log, None)

    async def _place(self, logs: Sequence[TopicPartition], patience_s: float = _ASSIGN_S) -> Begins:
        """Find out where reading begins in each log, and go there: at the group's progress, else where
        the options say. What the brokers do not tell in time is decided later."""
        deadline = Deadline(min(patience_s, self._session_s / 2))
        try:
            stored = await self.committed(logs, deadline.left_s)
            begins = {log: offset for log, offset in stored.items() if offset is not None}
            fresh = [log for log in logs if log not in begins]
            begins.update(await self._starts_of(fresh, deadline.left_s))
        except StreamproofError as cause:
            _log.debug("where to begin in %d logs is not known yet: %s", len(logs), cause)
            return {}
        return {log: offset for log, offset in begins.items() if self._has_moved(log, offset)}

    async def _starts_of(self, logs: Iterable[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        start = self._options.start
        place: Position = start if isinstance(start, AtTime) else _PLACES[start]
        return await self._admin.offsets_at(logs, place, self._options.isolation, timeout_s)

    async def _decide(self, patience_s: float) -> None:
        """Begin in logs whose place could not be found out at assignment."""
        begins = await self._place(sorted(self._undecided), patience_s)
        self._begins.update(begins)
        self._undecided.difference_update(begins)

    # -- progress --------------------------------------------------------------------------

    async def ack(self, records: Sequence[RawRecord]) -> None:
        """See the Protocol."""
        raise Unsupported("Kafka's groups store offsets: commit the offset after the last record instead")

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """See the Protocol."""
        if self._options.group is None:
            raise Unsupported("without a group there is no progress to store: name a group")
        self._require_held(offsets)
        if not offsets:
            return
        if self._is_lost():
            raise NotAssigned("the group has gone on without this member: drop what is in flight and poll on")
        deadline = Deadline(timeout_s)
        while True:
            call = commit_once(self.native._coordinator, offsets, self._told_generation)
            try:
                await bounded(call, "no commit", deadline, definite=False)
            except StreamproofError as error:
                cause = error.__cause__
                is_passing = isinstance(cause, native_errors.KafkaError) and cause.retriable
                if not is_passing or isinstance(error, NotAssigned) or deadline.left_s < _BETWEEN_COMMITS_S:
                    raise
                await asyncio.sleep(_BETWEEN_COMMITS_S)
            else:
                return

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        """See the Protocol."""
        if self._options.group is None:
            return dict.fromkeys(partitions)
        is_stable = self._options.isolation == "read_committed"
        return await self._admin.committed(self._options.group, partitions, timeout_s, is_stable=is_stable)

    def membership(self) -> GroupMembership:
        """See the Protocol. The generation is that under which the logs were assigned; there is none
        once it is over."""
        generation = NO_GENERATION if self._is_lost() else self._told_generation
        coordinator = self.native._coordinator
        member_id = "" if coordinator is None else str(coordinator.member_id)
        return GroupMembership(str(self._options.group), member_id, generation)

    # -- place and flow --------------------------------------------------------------------

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        """See the Protocol. An offset that is not there raises from the next poll."""
        self._require_held(partitions)
        places = await self._admin.offsets_at(partitions, to, self._options.isolation, timeout_s)
        self._require_held(partitions)
        for log, offset in places.items():
            if not self._has_moved(log, offset):
                raise NotAssigned(f"{log.topic}[{log.partition}] is being given to another member: poll")
            self._begins[log] = offset
            self._out_of_range.pop(log, None)
            self._undecided.discard(log)

    def _has_moved(self, log: TopicPartition, offset: int) -> bool:
        """Read on from there; ``False`` where the library does not have the log any more."""
        if not self._state.is_assigned(log):
            return False
        self.native._fetcher.seek_to(log, offset)
        return True

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See the Protocol. On the consumer's event loop."""
        for log in partitions:
            if log in self._held:
                self._paused.add(log)
                if self._state.is_assigned(log):
                    self._state.pause(log)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See the Protocol. On the consumer's event loop."""
        for log in partitions:
            self._paused.discard(log)
            if self._state.is_assigned(log):
                self._state.resume(log)
        self._ring()

    def assignment(self) -> tuple[TopicPartition, ...]:
        """See the Protocol."""
        return self._held.all

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        """See the Protocol."""
        self._require_held((partition,))
        offset = self._position_now(partition)
        if offset is None:
            raise TimedOut(f"the position in {partition.topic}[{partition.partition}] is not known yet: poll")
        return offset

    def _position_now(self, log: TopicPartition) -> int | None:
        if self._state.is_assigned(log):
            state = self._state.subscription.assignment.state_value(log)
            if state.has_valid_position:
                return int(state.position)
        return self._begins.get(log)

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """See the Protocol. The end is the last stable offset under ``read_committed``."""
        deadline = Deadline(timeout_s)
        isolation = self._options.isolation
        begins = await self._admin.offsets_at(partitions, "beginning", isolation, deadline.left_s)
        ends = await self._admin.offsets_at(partitions, "end", isolation, deadline.left_s)
        return {partition: Watermarks(begins[partition], ends[partition]) for partition in partitions}

    # -- inside ----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed: make a new one")

    def _require_held(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            if partition not in self._held:
                raise NotAssigned(
                    f"{partition.topic}[{partition.partition}] is not held by this consumer now"
                )


def _taken(fetcher: Any, log: TopicPartition, max_records: int) -> list[RawRecord]:
    """What was fetched of a log; what its fetch met instead is raised."""
    found = fetcher._records[log]
    records: list[RawRecord] = []
    if isinstance(found, _FetchResult):
        if found.has_more():
            # Ours at once: the library's own records take longer to make than all the rest.
            found._partition_records._consumer_record = _record
        records = found.getall(max_records)
        if found.has_more():
            return records
    # Something else can be fetched now.
    del fetcher._records[log]
    fetcher._notify(fetcher._wait_consume_future)
    if isinstance(found, _FetchError):
        found.check_raise()
    return records


def _record(log: TopicPartition, found: Any) -> RawRecord:
    """A record as the library reads it off the wire, as ours."""
    headers = found.headers
    return Record(
        log.topic,
        log.partition,
        found.offset,
        found.key,
        found.value,
        found.timestamp,
        tuple(headers) if headers else (),
    )
