"""The consumer that applications hold."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, final

import msgspec

from streamproof._async.assignment import AsyncAssignment
from streamproof._async.colour import Guard, current, now_s, pause_s
from streamproof._async.progress import AsyncProgress
from streamproof.capabilities import Capabilities
from streamproof.checks import as_offsets, as_partitions, require_count, require_record
from streamproof.core.inflight import InFlight
from streamproof.driver import AsyncConsumerDriver, AsyncMemberDriver
from streamproof.errors import (
    Closed,
    NotAssigned,
    SerializationError,
    StreamproofError,
    TimedOut,
)
from streamproof.observer import ConsumerObserver
from streamproof.options import ConsumerOptions
from streamproof.records import GroupMembership, Position, RawRecord, Record, TopicPartition, position_of
from streamproof.refusals import require_group, require_offsets, require_seek, vanish
from streamproof.serialization import Decode

_log = logging.getLogger("streamproof.consumer")

K = TypeVar("K")
V = TypeVar("V")

_PARKED_LIMIT = 1000
_READ_AHEAD = 100
"""Records asked of the driver at least: one by one would cost a call each."""
_LOOK_INTERVAL_S = 0.25
"""The driver is called so often at least by a consumer that polls, and no call waits longer."""
_CLOSING_POLL_S = 0.005
_TURN_BACK_S = 5.0
"""The longest that a poll waits to turn back what a transaction could not."""


@final
class AsyncConsumer(Generic[K, V]):
    """Reads topics, alone or with others in a group. At-least-once by default.

    Two ways to read. *Iterating* hands out one record at a time and acknowledges it when the next
    is asked for, that is, after the loop's body::

        async for record in consumer:
            await handle(record)

    *Polling* hands out batches; what was handled is acknowledged by hand::

        for record in await consumer.poll():
            await handle(record)
            await consumer.ack(record)

    Acknowledged progress is stored every ``commit_interval_s`` while polling, before a log goes to
    another member, by ``commit()`` and on ``close()``; what was not stored is delivered again to
    whoever reads the log next. Poll, iterate and seek from one task at a time; ``ack`` and
    ``nack`` may come from others.
    """

    def __init__(
        self,
        driver: AsyncConsumerDriver,
        options: ConsumerOptions,
        capabilities: Capabilities,
        decode_key: Decode | None,
        decode_value: Decode | None,
        observer: ConsumerObserver,
    ) -> None:
        self._driver = driver
        self._options = options
        self._capabilities = capabilities
        self._decode_key = decode_key
        self._decode_value = decode_value
        self._guard = Guard()
        self._in_flight = InFlight(options.order)
        self._fetched: deque[RawRecord] = deque()
        self._paused: set[TopicPartition] = set()
        self._throttled: set[TopicPartition] = set()
        self._undecodable: SerializationError | None = None
        self._look_at_s = 0.0
        self._takes_due_first = False
        self._reader: object = None
        self._is_closed = False
        self._progress = AsyncProgress(driver, options, capabilities, self._in_flight, self._guard, observer)
        self._assignment = AsyncAssignment(
            observer, self._in_flight, self._guard, self._progress, self._forget_flow
        )

    # -- reading ---------------------------------------------------------------------------

    async def poll(self, max_records: int = 500, timeout_s: float = 1.0) -> list[Record[K, V]]:
        """Up to ``max_records`` records, as soon as there is one; empty when ``timeout_s`` passes.

        In order within each log; a lane held by ``nack`` is left out until it is due. Rebalances
        happen in here, so poll at least every ``max_poll_interval_s``. Raises
        :class:`OffsetOutOfRange` when the place to read was trimmed away (``seek`` before going
        on), and :class:`SerializationError`, with the record as its ``record``, for one that
        cannot be decoded (``ack(error.record)`` skips it; the others are not lost). After a transaction
        that did not commit it first goes back, and raises what keeps it from that.
        """
        self._require_open()
        require_count("max_records", max_records)
        self._raise_undecodable()
        deadline = now_s() + timeout_s
        if self._progress.owed:
            await self._pay_back()
        # While handled records come from what was read ahead, the driver is still to be called
        # now and then: rebalances happen in there, and other lanes' records are in there.
        is_looking = not self._fetched or now_s() >= self._look_at_s
        while True:
            left = deadline - now_s()
            if is_looking:
                await self._fetch(max_records, max(0.0, min(left, self._nap_s())))
            with self._guard:
                ready = self._take(max_records)
            if ready:
                return self._decoded(ready)
            if left <= 0:
                return []
            is_looking = True

    def __aiter__(self) -> AsyncIterator[Record[K, V]]:
        return self.stream()

    async def stream(self, idle_timeout_s: float | None = None) -> AsyncIterator[Record[K, V]]:
        """Hand out one record at a time, acknowledging each when the next is asked for.

        Ends when no record came for ``idle_timeout_s`` (without it, never) and when another thread or
        task closes the consumer. A record whose loop body raises, or that was given back with
        ``nack``, is not acknowledged.
        """
        self._require_open()
        last_s = now_s()
        while not self._is_closed:
            try:
                records = await self.poll(1, 1.0 if idle_timeout_s is None else min(1.0, idle_timeout_s))
            except Closed:
                return
            for record in records:
                yield record
                await self._ack_handled(record)
                last_s = now_s()
            if idle_timeout_s is not None and now_s() - last_s >= idle_timeout_s:
                await self._progress.store_when_due()
                return

    # -- acknowledging ---------------------------------------------------------------------

    async def ack(self, *records: Record[Any, Any] | Sequence[Record[Any, Any]]) -> None:
        """Mark records, or whole batches, as handled, in any order. It does not wait for the
        broker: see ``commit``. A second ack of a record does nothing. Raises
        :class:`NotAssigned` when its log is held no longer: it will be delivered to another
        member. On a backend that acknowledges each message this hands the ack to the client. Without
        a group there is nothing to acknowledge, and this does nothing."""
        self._require_open()
        if self._options.group is None:
            return
        for chosen in records:
            batch: Sequence[Any] = (chosen,) if isinstance(chosen, Record) else chosen
            with self._guard:
                taken = self._in_flight.acknowledge(batch)
            if self._capabilities.acknowledgement == "message" and taken:
                await self._driver.ack(taken)

    async def nack(self, record: Record[Any, Any], delay_s: float = 0.0) -> None:
        """Give a record back, to get it again after ``delay_s`` with ``attempt`` one higher.

        Its lane (its key or its log, as ``order`` says) is held until then: the records behind it
        in the lane, also those of the same batch, wait and are delivered again after it; leave
        them unhandled. Nothing is told to the broker; if this consumer dies meanwhile, the next
        owner of the log gets it at once. Raises :class:`NotAssigned` as ``ack`` does.
        """
        self._require_open()
        require_group(self._options, "nack")
        require_record(record)
        with self._guard:
            self._in_flight.give_back(record, now_s() + max(0.0, delay_s))
            self._hold_fetching(record.topic_partition)

    def is_held(self, record: Record[Any, Any]) -> bool:
        """Whether this record waits in a held lane: given back, or behind one that was. It will
        be delivered again; do not handle it now."""
        with self._guard:
            return self._in_flight.is_held(record)

    async def commit(
        self, offsets: Mapping[TopicPartition, int] | None = None, timeout_s: float = 10.0
    ) -> None:
        """Store the group's progress; on return it is stored. Without ``offsets`` that is the
        offset below which everything was acknowledged, in each log. Where each message is
        acknowledged on its own there is nothing to store. Raises :class:`NotAssigned` when a log
        went to another member, :class:`TimedOut`, :class:`Unreachable`."""
        self._require_open()
        require_group(self._options, "commit")
        if self._capabilities.acknowledgement == "message":
            if offsets is not None:
                require_offsets(self._capabilities, self._options, "commit of offsets")
            return
        if offsets is None:
            await self._progress.store(self._progress.own(), timeout_s)
            return
        chosen = as_offsets(offsets)
        await self._progress.store(chosen, timeout_s)
        with self._guard:
            self._in_flight.overrule(chosen)

    # -- for transactions and for transform, which stand beside this class ----------------------

    @property
    def options(self) -> ConsumerOptions:
        """What it was made with."""
        return self._options

    @property
    def capabilities(self) -> Capabilities:
        """What its backend says it can do."""
        return self._capabilities

    @property
    def tenures(self) -> Mapping[TopicPartition, int]:
        """The logs held, each with a number that is another one whenever the log came anew."""
        return self._assignment.tenures

    @property
    def unsettled_losses(self) -> int:
        """How many logs went, so far, with records of theirs out that no transaction had settled."""
        return self._assignment.unsettled_losses

    def membership(self) -> GroupMembership:
        """This member, as a transaction names it."""
        self._require_open()
        return cast("AsyncMemberDriver", self._driver).membership()

    def take_progress(self, partitions: Sequence[TopicPartition] | None) -> dict[TopicPartition, int]:
        """Everything handed out counts as handled; what a transaction is to store."""
        self._require_open()
        return self._progress.take(self.assignment() if partitions is None else partitions)

    def settle_progress(self, offsets: Mapping[TopicPartition, int]) -> None:
        """A transaction stored these offsets."""
        self._progress.settle(offsets)

    async def turn_back(
        self, partitions: Sequence[TopicPartition] | None, timeout_s: float, *, is_taken_over: bool = False
    ) -> None:
        """Read on from the stored progress: a transaction did not commit, or logs were taken over."""
        if self._is_closed:
            return
        chosen = self.assignment() if partitions is None else partitions
        with self._guard:
            self._discard_fetched(chosen if is_taken_over else self._in_flight.first_offsets(chosen))
        moved = await self._progress.turn_back(chosen, timeout_s, is_taken_over=is_taken_over)
        with self._guard:
            self._release(moved)

    def owe(self, partitions: Iterable[TopicPartition]) -> None:
        """Turn these logs back before anything more is read: what was handed out of them was not handled."""
        self._progress.owed.update(dict.fromkeys(partitions, False))

    async def _pay_back(self) -> None:
        """Turn back what a transaction before could not: nothing is read until then."""
        for is_taken_over in (False, True):
            owed = [place for place, taken in self._progress.owed.items() if taken is is_taken_over]
            if owed:
                await self.turn_back(owed, _TURN_BACK_S, is_taken_over=is_taken_over)

    # -- place and flow --------------------------------------------------------------------

    async def seek(
        self,
        to: Position | datetime,
        partitions: Iterable[TopicPartition] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Read on from ``to`` (an offset, ``"beginning"``, ``"end"``, a time) in these logs, or in
        all that are held. What was handed out and not acknowledged is forgotten. A group's
        stored progress never goes back by itself: ``commit(offsets)`` does that."""
        self._require_open()
        place = position_of(to)
        require_seek(self._capabilities, self._options, place)
        chosen = as_partitions(partitions) if partitions is not None else self.assignment()
        stored: dict[TopicPartition, int | None] = {}
        if self._options.group is not None and self._capabilities.acknowledgement == "offset":
            stored = await self._driver.committed(chosen, timeout_s)
        await self._driver.seek(chosen, place, timeout_s)
        with self._guard:
            self._in_flight.rewind(chosen, stored)
            self._discard_fetched(chosen)
            self._release(chosen)

    async def pause(self, *partitions: TopicPartition) -> None:
        """Hand out nothing from these logs, or from all, until ``resume``. Nothing is lost."""
        self._require_open()
        chosen = as_partitions(partitions) or self.assignment()
        with self._guard:
            self._paused.update(chosen)
            self._driver.pause(chosen)

    async def resume(self, *partitions: TopicPartition) -> None:
        """Undo ``pause``."""
        self._require_open()
        chosen = as_partitions(partitions) or tuple(self._paused)
        with self._guard:
            self._paused.difference_update(chosen)
            self._driver.resume([partition for partition in chosen if partition not in self._throttled])

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The logs this consumer holds now, sorted."""
        return self._driver.assignment()

    @property
    def in_flight(self) -> int:
        """Records handed out or held back in lanes, and not acknowledged."""
        with self._guard:
            return len(self._in_flight)

    @property
    def generation(self) -> int | None:
        """The group's generation that the assignment belongs to, where the backend has them."""
        return self._assignment.generation

    async def wait_assigned(self, timeout_s: float = 30.0) -> tuple[TopicPartition, ...]:
        """Wait until at least one log is assigned, and return the assignment. Records that arrive
        meanwhile are kept for the next poll. Raises :class:`TimedOut`."""
        self._require_open()
        deadline = now_s() + timeout_s
        while not self.assignment():
            left = deadline - now_s()
            if left <= 0:
                raise TimedOut(f"no log was assigned within {timeout_s} s: are there more members than logs?")
            await self._fetch(1, min(left, _LOOK_INTERVAL_S))
        return self.assignment()

    async def position(self, partition: TopicPartition, timeout_s: float = 10.0) -> int:
        """The smallest offset that was not handed out yet."""
        self._require_open()
        require_offsets(self._capabilities, self._options, "position")
        waiting = self._in_flight.first_unseen(partition)
        if waiting is not None:
            return waiting
        for record in self._fetched:
            if record.partition == partition.partition and record.topic == partition.topic:
                assert record.offset is not None
                return record.offset
        return await self._driver.position(partition, timeout_s)

    async def committed(
        self, *partitions: TopicPartition, timeout_s: float = 10.0
    ) -> dict[TopicPartition, int | None]:
        """The group's stored next offset of each of these logs, or of all that are held."""
        self._require_open()
        require_group(self._options, "committed")
        require_offsets(self._capabilities, self._options, "committed")
        return await self._driver.committed(as_partitions(partitions) or self.assignment(), timeout_s)

    async def lag(self, *partitions: TopicPartition, timeout_s: float = 10.0) -> dict[TopicPartition, int]:
        """Records between the position and the end of each log held (control records included)."""
        self._require_open()
        require_offsets(self._capabilities, self._options, "lag")
        chosen = as_partitions(partitions) or self.assignment()
        ends = await self._driver.watermarks(chosen, timeout_s)
        return {
            partition: max(0, ends[partition].end - await self.position(partition, timeout_s))
            for partition in chosen
        }

    # -- the end ---------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def close(self, timeout_s: float = 10.0) -> None:
        """Store the acknowledged progress, leave the group, let go; all within the bound. A second
        call does nothing. Raises what kept the progress from being stored, after closing."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = now_s() + timeout_s
        # A poll under way elsewhere ends soon, with Closed; drivers take one caller at a time.
        while self._reader not in (None, current()) and now_s() < deadline - timeout_s / 2:
            await pause_s(_CLOSING_POLL_S)
        failure: StreamproofError | None = None
        try:
            progress = self._progress.own()
            await self._progress.store(progress, timeout_s / 2)
        except NotAssigned:
            _log.info("progress of %d logs belongs to another member by now", len(progress))
        except StreamproofError as error:
            failure = error
        finally:
            await self._driver.close(max(0.1, deadline - now_s()))
        if failure is not None:
            raise failure

    def vanish(self) -> None:
        """Let go without a word, as a crash of the process would: nothing is stored, the group is
        not left and notices later. For tests, on backends that live in this process; elsewhere
        (:class:`Unsupported`) a crash is a process that is killed."""
        self._is_closed = True
        vanish(self._driver)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- inside ----------------------------------------------------------------------------

    async def start(self, timeout_s: float) -> None:
        """Begin reading; the bus calls it."""
        self._progress.begin()
        await self._driver.start(self._assignment, timeout_s)

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed: make a new one with bus.consumer(…)")

    def _take(self, max_records: int) -> Sequence[RawRecord]:
        """What may be handed out now: due records of held lanes first, then fetched ones."""
        if self._options.group is None:
            return self._from_fetched(max_records)
        # In turn, or records given back again and again would leave the others no room.
        self._takes_due_first = not self._takes_due_first
        if self._takes_due_first:
            ready = self._take_due(max_records)
            return ready + self._take_fetched(max_records - len(ready))
        ready = self._take_fetched(max_records)
        return ready + self._take_due(max_records - len(ready))

    def _take_due(self, room: int) -> list[RawRecord]:
        ready = self._in_flight.due(now_s(), room, self._paused)
        if self._throttled:
            self._release_relieved()
        return ready

    def _take_fetched(self, room: int) -> list[RawRecord]:
        if room <= 0 or not self._fetched:
            return []
        ready = self._in_flight.deliver(self._from_fetched(room))
        if self._in_flight.next_due_s() is not None:
            for partition in self.assignment():
                if self._in_flight.parked(partition) > _PARKED_LIMIT:
                    self._hold_fetching(partition)
        return ready if isinstance(ready, list) else list(ready)

    def _from_fetched(self, room: int) -> list[RawRecord]:
        fetched = self._fetched
        if not self._paused:
            if len(fetched) <= room:
                self._fetched = deque()
                return list(fetched)
            return [fetched.popleft() for _ in range(room)]
        taken: list[RawRecord] = []
        kept: deque[RawRecord] = deque()
        for record in fetched:
            is_paused = record.topic_partition in self._paused
            (kept if is_paused or len(taken) >= room else taken).append(record)
        self._fetched = kept
        return taken

    async def _fetch(self, max_records: int, nap_s: float) -> None:
        """Ask the driver for more. Whoever cancels this loses no record: they are taken after it."""
        is_ahead = any(record.topic_partition not in self._paused for record in self._fetched)
        wanted, wait_s = (1, 0.0) if is_ahead else (max(max_records, _READ_AHEAD), nap_s)
        # Closing looks for a reader after it marked the consumer closed: one of the two sees the other.
        self._reader = current()
        try:
            self._require_open()
            observer = self._assignment.observer
            observer.fetch_begins()
            try:
                fetched = await self._driver.poll(wanted, wait_s)
            except StreamproofError as error:
                observer.fetch_ends((), error)
                raise
            observer.fetch_ends(fetched, None)
            with self._guard:
                self._fetched.extend(fetched)
            self._look_at_s = now_s() + _LOOK_INTERVAL_S
            await self._progress.store_when_due()
        finally:
            self._reader = None
        self._require_open()

    def _nap_s(self) -> float:
        """How long the driver may wait: until a held lane is due, a commit is, or it is time to
        see whether another thread or task closed this consumer."""
        due_s = self._in_flight.next_due_s(self._paused)
        store_s = self._progress.due_s
        if store_s is not None:
            due_s = store_s if due_s is None else min(due_s, store_s)
        return _LOOK_INTERVAL_S if due_s is None else min(_LOOK_INTERVAL_S, due_s - now_s())

    def _decoded(self, records: Sequence[RawRecord]) -> list[Record[K, V]]:
        key, value = self._decode_key, self._decode_value
        if key is None and value is None:
            return cast("list[Record[K, V]]", records if isinstance(records, list) else list(records))
        decoded: list[Record[K, V]] = []
        for index, record in enumerate(records):
            try:
                decoded.append(
                    msgspec.structs.replace(
                        cast("Record[Any, Any]", record),
                        key=key(record.key) if key is not None else record.key,
                        value=value(record.value) if value is not None else record.value,
                    )
                )
            except SerializationError as error:
                self._keep_undecodable(error, records, index)
                break
        if not decoded:
            self._raise_undecodable()
        return decoded

    def _keep_undecodable(self, error: SerializationError, records: Sequence[RawRecord], index: int) -> None:
        record = records[index]
        place = f"{record.topic}[{record.partition}]" + (
            f" at offset {record.offset}" if record.offset is not None else ""
        )
        self._undecodable = SerializationError(f"{place} cannot be decoded: {error}")
        self._undecodable.record = record
        self._undecodable.__cause__ = error
        later = records[index + 1 :]
        with self._guard:
            if self._options.group is None:
                self._fetched.extendleft(reversed(later))
            else:
                self._in_flight.put_back(later)

    def _raise_undecodable(self) -> None:
        error, self._undecodable = self._undecodable, None
        if error is not None:
            raise error

    async def _ack_handled(self, record: Record[K, V]) -> None:
        if not self._is_closed and not self.is_held(record):
            try:
                await self.ack(record)
            except NotAssigned:
                _log.info("a handled record belongs to another member by now and will be handled again")

    def _hold_fetching(self, partition: TopicPartition) -> None:
        """Stop fetching a log whose held lanes would park more and more."""
        is_full = self._in_flight.parked(partition) > _PARKED_LIMIT or self._options.order == "partition"
        if is_full and partition not in self._throttled:
            self._throttled.add(partition)
            self._driver.pause((partition,))

    def _release_relieved(self) -> None:
        relieved = [
            partition
            for partition in self._throttled
            if self._in_flight.parked(partition)
            <= (_PARKED_LIMIT // 2 if self._options.order == "key" else 0)
        ]
        self._release(relieved)

    def _release(self, partitions: Iterable[TopicPartition]) -> None:
        held = set(self.assignment())
        for partition in partitions:
            if partition in self._throttled:
                self._throttled.discard(partition)
                if partition not in self._paused and partition in held:
                    self._driver.resume((partition,))

    def _discard_fetched(self, partitions: Iterable[TopicPartition]) -> None:
        gone = set(partitions)
        self._fetched = deque(record for record in self._fetched if record.topic_partition not in gone)

    def _forget_flow(self, partitions: Iterable[TopicPartition]) -> None:
        """These logs are no longer held: when they come again, they are neither paused nor throttled."""
        self._discard_fetched(partitions)
        self._paused.difference_update(partitions)
        self._throttled.difference_update(partitions)
