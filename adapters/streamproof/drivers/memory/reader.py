"""Reading an in-memory cluster: what blocking and async consumers share.

A reader takes steps. Each step, with the cluster locked, gives records, or a notice that the
consumer has to pass to its listener, or nothing: then the consumer waits until it is woken. How to
wait and how to call the listener is all that the two colours do themselves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from streamproof.core.log import PartitionLog
from streamproof.core.offsets import CommittedOffset
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.faults import Api, Request
from streamproof.drivers.memory.seat import GroupSeat, OwnSeat, Seat
from streamproof.errors import Closed, NotAssigned, TimedOut, UsageError
from streamproof.options import ConsumerOptions
from streamproof.records import (
    AtTime,
    GroupMembership,
    Position,
    RawRecord,
    TopicPartition,
    Watermarks,
)

_NS = 1_000_000_000
_FAR_S = 3600.0
"""The longest single wait: a larger timeout waits again."""


class Notice(NamedTuple):
    """What the listener has to be told; ``positions`` only of an assignment."""

    kind: Literal["assign", "revoke", "lost"]
    generation: int | None
    partitions: tuple[TopicPartition, ...]
    positions: Mapping[TopicPartition, int]


class Reading:
    """A log that is held, and the offset its next record is read from."""

    __slots__ = ("is_paused", "log", "position")

    def __init__(self, log: PartitionLog, position: int) -> None:
        self.log = log
        self.position = position
        self.is_paused = False


class MemoryReader:
    """One consumer's reading. All of it is used with the cluster locked."""

    def __init__(self, cluster: MemoryCluster, options: ConsumerOptions, on_wake: Callable[[], None]) -> None:
        self._cluster = cluster
        self._options = options
        self._on_wake = on_wake
        self._is_committed = options.isolation == "read_committed"
        self._readings: dict[TopicPartition, Reading] = {}
        self._held: frozenset[TopicPartition] = frozenset()
        self._order: list[Reading] = []
        self._turn = 0
        self._generation: int | None = None
        self._was_assigned = False
        self._unsettled: frozenset[TopicPartition] = frozenset()
        self._group_seat = (
            GroupSeat(cluster, options, options.group, self) if options.group is not None else None
        )
        self._seat: Seat = self._group_seat or OwnSeat(cluster, options)
        self.is_waiting = False
        self.is_started = False
        self.is_closing = False
        self.is_closed = False

    # -- waking ----------------------------------------------------------------------------

    def wake(self) -> None:
        """See :class:`~streamproof.drivers.memory.cluster.Waiter`."""
        if self.is_waiting:
            self.is_waiting = False
            self._on_wake()

    def on_append(self, log: PartitionLog) -> None:
        """See :class:`~streamproof.core.log.Watcher`."""
        if self.is_waiting:
            self.is_waiting = False
            self._on_wake()

    def begin_wait(self) -> float:
        """The consumer waits for ``wake`` from now on, and no longer than so many seconds: then it
        has to take a step, whatever its caller's timeout. While it waits it is not slow to poll."""
        self.is_waiting = True
        self._seat.begin_poll()
        bound_s = self._seat.wait_bound_s()
        return min(self._ending_s(), _FAR_S if bound_s is None else bound_s)

    def _ending_s(self) -> float:
        """In how many seconds a transaction may have to be aborted; who waits does it."""
        deadline_ns = self._cluster.transactions.next_deadline_ns
        if deadline_ns is None:
            return _FAR_S
        return max(0.0, (deadline_ns - self._cluster.clock.monotonic_ns()) / _NS)

    # -- reading ---------------------------------------------------------------------------

    def start(self) -> None:
        """Take a seat."""
        if self.is_closed or self.is_closing:
            raise _closed()
        if self.is_started:
            raise UsageError("the consumer was started already: start it once")
        self._ask("join")
        self._seat.take()
        self.is_started = True
        self._cluster.waiters[self] = None
        self._seat.end_poll()

    @property
    def is_alone(self) -> bool:
        """Whether it reads without a group."""
        return self._group_seat is None

    def end_poll(self) -> None:
        """The consumer goes to work: the time to its next poll begins to run."""
        self.is_waiting = False
        self._seat.end_poll()

    def step(self, limit: int) -> list[RawRecord] | Notice:
        """Records, or a notice that must be settled before the next step, or an empty list: wait."""
        if self.is_closed or self.is_closing:
            raise _closed()
        if not self.is_started:
            raise UsageError("the consumer was not started: call start(listener, timeout_s) first")
        self._cluster.expire_transactions()
        if self._cluster.faults.interceptors:
            self._ask("fetch")
        notice = self.change()
        if notice is not None:
            self._seat.end_poll()  # the listener's time counts
            return notice
        return self._take(limit)

    def change(self) -> Notice | None:
        """What changed in what may be held."""
        if self._unsettled and not all(map(self._is_unstable, self._unsettled)):
            self._seat.look_again()
        entitled = self._seat.look(self._held)
        if entitled is None:
            return None
        lost = [
            partition
            for partition, reading in self._readings.items()
            if reading.log.is_deleted
            or (partition not in entitled.partitions and partition not in entitled.revoking)
        ]
        if lost:
            self._drop(lost)
            self._was_assigned = bool(self._readings)
            return Notice("lost", self._generation, tuple(sorted(lost)), {})
        if entitled.revoking:
            return Notice("revoke", self._generation, tuple(sorted(entitled.revoking)), {})
        new = self._without_unstable(entitled.partitions - self._held)
        return self._assign(entitled.generation, new, entitled.is_complete and not self._unsettled)

    def _without_unstable(self, new: frozenset[TopicPartition]) -> frozenset[TopicPartition]:
        """Those of which it is certain where reading begins. The others, whose progress an open
        transaction is about to move, are taken when that ended (KIP-447)."""
        self._unsettled = frozenset(filter(self._is_unstable, new))
        if self._unsettled:
            self._cluster.unsettled[self] = None
        else:
            self._cluster.unsettled.pop(self, None)
        return new - self._unsettled

    def _is_unstable(self, partition: TopicPartition) -> bool:
        group = self._options.group
        return group is not None and self._cluster.groups.is_unstable(group, partition)

    def settle(self, notice: Notice) -> None:
        """The listener has been told: logs that were to be revoked go now."""
        if notice.kind == "revoke":
            self._drop(notice.partitions)

    def _assign(
        self, generation: int | None, new: frozenset[TopicPartition], is_complete: bool
    ) -> Notice | None:
        is_news = generation != self._generation or not self._was_assigned
        if not new and not (is_news and (is_complete or self._was_assigned)):
            return None
        self._generation = generation
        self._was_assigned = True
        positions: dict[TopicPartition, int] = {}
        for partition in sorted(new):
            log = self._cluster.topics.log(partition)
            positions[partition] = self._first_position(log)
            self._readings[partition] = Reading(log, positions[partition])
            log.watchers.append(self)
        self._reorder()
        return Notice("assign", generation, self.assignment(), positions)

    def _first_position(self, log: PartitionLog) -> int:
        if self._options.group is not None:
            stored = self._cluster.groups.committed(self._options.group, log.name)
            if stored is not None:
                return stored.offset
        start = self._options.start
        if start == "earliest":
            return self._resolve(log, "beginning")
        return self._resolve(log, "end" if start == "latest" else start)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            reading = self._readings.pop(partition, None)
            if reading is not None:
                reading.log.watchers.remove(self)
        self._reorder()
        self._seat.look_again()

    def _reorder(self) -> None:
        self._held = frozenset(self._readings)
        self._order = [self._readings[partition] for partition in sorted(self._readings)]
        self._turn = 0

    def _take(self, limit: int) -> list[RawRecord]:
        """Records of one log after the other, each time beginning with the next one."""
        order = self._order
        for reading in order:
            if not reading.is_paused:
                self._retain(reading.log)
                if not reading.log.start_offset <= reading.position <= reading.log.end_offset:
                    reading.log.require_offset(reading.position)
        found: list[RawRecord] = []
        first = self._turn
        for turn in range(first, first + len(order)):
            reading = order[turn % len(order)]
            if reading.is_paused or reading.position >= reading.log.readable_end(self._is_committed):
                continue
            records, reading.position = reading.log.read(
                reading.position, limit - len(found), self._is_committed
            )
            if found:
                found += records
            else:
                found = records
            self._turn = (turn + 1) % len(order)
            if len(found) >= limit:
                break
        return found

    def _retain(self, log: PartitionLog) -> None:
        if log.retention_ms is not None:
            log.retain(self._cluster.clock.now_ms())

    # -- place and flow --------------------------------------------------------------------

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The logs held now, sorted."""
        return tuple(sorted(self._readings))

    def seek(self, partitions: Sequence[TopicPartition], to: Position) -> None:
        """Read on from there; all or none."""
        self.require_open()
        places = [(reading, self._resolve(reading.log, to)) for reading in map(self._reading, partitions)]
        for reading, position in places:
            reading.position = position
        self.wake()

    def _resolve(self, log: PartitionLog, to: Position) -> int:
        self._retain(log)
        if isinstance(to, AtTime):
            record = log.find(to.timestamp_ms, self._is_committed)
            to = "end" if record is None or record.offset is None else record.offset
        if to == "beginning":
            return log.start_offset
        if to == "end":
            return log.readable_end(self._is_committed)
        log.require_offset(to)
        return to

    def pause(self, partitions: Sequence[TopicPartition], is_paused: bool) -> None:
        """Stop or go on reading these; those not held (any more) are ignored."""
        for partition in partitions:
            reading = self._readings.get(partition)
            if reading is not None:
                reading.is_paused = is_paused
        self.wake()

    def position(self, partition: TopicPartition) -> int:
        """The offset read next."""
        self.require_open()
        return self._reading(partition).position

    def _reading(self, partition: TopicPartition) -> Reading:
        reading = self._readings.get(partition)
        if reading is None:
            raise NotAssigned(
                f"{partition[0]}[{partition[1]}] is not assigned to this consumer: see assignment()"
            )
        return reading

    def watermarks(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        """First and one-past-last readable offset of each."""
        self.require_open()
        self._ask("fetch")
        found = {}
        for partition in partitions:
            log = self._cluster.topics.log(partition)
            self._retain(log)
            found[partition] = Watermarks(log.start_offset, log.readable_end(self._is_committed))
        return found

    # -- progress --------------------------------------------------------------------------

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the group's progress."""
        self.require_open()
        seat = self._group_seat
        if seat is None or self._options.group is None:
            raise UsageError("commit needs a group: name one when the consumer is made")
        if any(offset < 0 for offset in offsets.values()):
            raise UsageError(
                f"{dict(offsets)} has a negative offset: commit the next offset to read, 0 or more"
            )
        self._ask("commit")
        self._cluster.groups.commit(
            self._options.group,
            seat.member_id or "",
            self._generation or 0,
            {partition: CommittedOffset(offset) for partition, offset in offsets.items()},
            self._cluster.clock.monotonic_ns(),
        )
        self._hear("commit")

    def membership(self) -> GroupMembership:
        """Who reads, for a transaction that stores this consumer's progress."""
        self.require_open()
        seat = self._group_seat
        if seat is None or self._options.group is None:
            raise UsageError("a consumer without a group has no progress to store: name a group")
        return GroupMembership(self._options.group, seat.member_id or "", self._generation or 0)

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None] | float:
        """The group's stored progress; or, while an open transaction is about to move it, after how
        many seconds to ask again even if nobody wakes."""
        self.require_open()
        self._cluster.expire_transactions()
        self._ask("fetch")
        if any(map(self._is_unstable, partitions)):
            self._cluster.unsettled[self] = None
            self.is_waiting = True
            return self._ending_s()
        if not self._unsettled:
            self._cluster.unsettled.pop(self, None)
        found: dict[TopicPartition, int | None] = dict.fromkeys(partitions)
        for partition in partitions if self._options.group is not None else ():
            stored = self._cluster.groups.committed(self._options.group or "", partition)
            found[partition] = None if stored is None else stored.offset
        return found

    # -- the end ---------------------------------------------------------------------------

    def begin_close(self) -> bool:
        """Let no poll go on. False: it was closed already."""
        if self.is_closed or self.is_closing:
            return False
        self.is_closing = True
        self.wake()
        return True

    def last_notice(self) -> Notice | None:
        """What the listener has to be told before the end: a group's logs go."""
        if self._group_seat is None or not self._readings:
            return None
        partitions = self.assignment()
        kind: Literal["revoke", "lost"] = "revoke" if self._group_seat.is_member() else "lost"
        return Notice(kind, self._generation, partitions, {})

    def finish(self) -> None:
        """Let everything go."""
        if not self.is_closed:
            self.is_closed = True
            self._drop(list(self._readings))
            self._cluster.waiters.pop(self, None)
            self._cluster.unsettled.pop(self, None)
            if self._cluster.faults.interceptors and self._cluster.faults.before(self._request("leave")):
                self._seat.die()  # the group does not hear of it
            else:
                self._seat.leave()

    def crash(self) -> None:
        """Stop as if the process had died: nothing is committed, nobody is told; the group notices
        when the session times out."""
        if not self.is_closed:
            self.is_closed = True
            self._drop(list(self._readings))
            self._cluster.waiters.pop(self, None)
            self._cluster.unsettled.pop(self, None)
            self._seat.die()
            self.wake()

    # -- inside ----------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise :class:`Closed` if it is."""
        if self.is_closed:
            raise _closed()

    def _request(self, api: Api) -> Request:
        return Request(api, self._options.client_id or "", self._options.group)

    def _ask(self, api: Api) -> None:
        faults = self._cluster.faults
        if faults.interceptors:
            error = faults.before(self._request(api))
            if error is not None:
                raise error

    def _hear(self, api: Api) -> None:
        faults = self._cluster.faults
        if faults.interceptors:
            error = faults.after(self._request(api))
            if error is not None:
                raise error


def _closed() -> Closed:
    return Closed("the consumer is closed: make a new one with bus.consumer(…)")


def unstable(timeout_s: float) -> TimedOut:
    """Why it was not told how far a group has come."""
    return TimedOut(
        f"an open transaction held offsets of the group for longer than {timeout_s} s: its producer has to "
        "commit or abort, or its transaction_timeout_s to pass"
    )
