"""What a consumer handed to the application and the application has not acknowledged yet.

A pure ledger: no I/O, no clock (times are passed in), no locks (the consumer guards it). It keeps

* the *low-water mark* of each log: acks may come in any order, but progress is the offset below
  which everything is acknowledged, so that a crash never skips a record;
* *held lanes*: a record given back with ``nack`` holds its lane (its key, or its whole log) until
  it is due; records of that lane that come after it, handed out or not, wait behind it and are
  delivered again in their order. Nothing is given back to the broker, which would lose the order.
  ``attempt`` counts the nacks of the record itself, not those of one before it in the lane.

An *identity* names a record within its log: its offset, or the driver's token where it has none.

Most polls are acknowledged as they came. A run of one log therefore stays *whole*, which costs next
to nothing a record, until a part of it is acknowledged or given back; only then it is spread into
the books that know each record.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain, compress
from operator import ne
from typing import Any

import msgspec

from streamproof.errors import NotAssigned, UsageError
from streamproof.options import Order
from streamproof.records import RawRecord, Record, TopicPartition

_WHOLE_LOG = object()
_AT_ONCE_S = float("-inf")


def _identity(record: Record[Any, Any]) -> Hashable:
    return record.offset if record.offset is not None else record.token


def _identities(records: Iterable[Record[Any, Any]]) -> list[Hashable]:
    offsets: list[Hashable] = [record.offset for record in records]
    return offsets if None not in offsets else list(map(_identity, records))


class _HeldLane:
    """Records of one lane that wait, in order, until ``due_s``."""

    __slots__ = ("due_s", "waiting")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.waiting: deque[RawRecord] = deque()


class _Ledger:
    """One log's part: see the module's docstring. A lane is held as long as a record waits in it;
    while one is, nothing is whole."""

    __slots__ = (
        "attempts",
        "delivered",
        "first_offset",
        "held",
        "lanes",
        "next_offset",
        "open",
        "order",
        "unseen",
        "whole",
    )

    def __init__(self, order: Order) -> None:
        self.order = order
        self.whole: deque[Sequence[RawRecord]] = deque()  # runs after those in ``delivered``
        self.delivered: deque[RawRecord] = deque()
        self.open: set[Hashable] = set()
        self.attempts: dict[Hashable, int] = {}
        self.held: dict[object, _HeldLane] = {}
        self.lanes: dict[Hashable, object] = {}  # of each record that waits
        self.unseen: set[Hashable] = set()  # those of them that were never handed out
        self.next_offset: int | None = None
        self.first_offset: int | None = None  # of what was delivered since it began, or was settled

    def lane(self, record: RawRecord) -> object:
        return record.key if self.order == "key" else _WHOLE_LOG

    def __len__(self) -> int:
        return len(self.open) + sum(map(len, self.whole))

    def spread(self) -> None:
        """Enter each record of the whole runs by itself."""
        for run in self.whole:
            self.delivered.extend(run)
            self.open.update(_identities(run))
        self.whole.clear()

    def deliver(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        self.whole.append(records)
        if self.first_offset is None:
            self.first_offset = records[0].offset
        if not self.held:
            return records
        self.spread()
        free = []
        for record in records:
            lane = self.lane(record)
            held = self.held.get(lane)
            if held is None:
                free.append(record)
            else:
                held.waiting.append(record)
                self.lanes[_identity(record)] = lane
                self.unseen.add(_identity(record))
        return free

    def acknowledge(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        if self.whole and not self.delivered and _are_same(records, self.whole[0]):
            self._reach(self.whole.popleft()[-1])
            return records
        self.spread()
        is_open = self.open
        taken = []
        for identity, record in zip(_identities(records), records, strict=True):
            if identity in is_open:
                is_open.remove(identity)
                taken.append(record)
        if self.lanes or self.attempts:
            self._forget(_identities(taken))
        self._advance()
        return taken

    def acknowledge_out(self) -> None:
        """Acknowledge everything that is in the application's hands."""
        if not self.lanes and not self.attempts:
            last = self.whole[-1] if self.whole else self.delivered
            if last:
                self._reach(last[-1])
            self.whole.clear()
            self.delivered.clear()
            self.open.clear()
            return
        self.spread()
        done = [identity for identity in self.open if identity not in self.lanes]
        self.open.difference_update(done)
        self._forget(done)
        self._advance()

    def settle(self) -> None:
        """Everything acknowledged is stored: what comes after it is the first from now on."""
        self.first_offset = self.next_offset if len(self) else None

    def _forget(self, identities: Iterable[Hashable]) -> None:
        """These are done: they wait no longer, and their attempts need not be known."""
        left = set()
        for identity in identities:
            self.attempts.pop(identity, None)
            if identity in self.lanes:
                left.add(self.lanes.pop(identity))
                self.unseen.discard(identity)
        for lane in left:
            waiting = self.held[lane].waiting
            self.held[lane].waiting = deque(kept for kept in waiting if _identity(kept) in self.lanes)
            self._free_if_empty(lane)

    def _free_if_empty(self, lane: object) -> None:
        if not self.held[lane].waiting:
            del self.held[lane]

    def _advance(self) -> None:
        delivered, is_open = self.delivered, self.open
        last = None
        if delivered and not is_open:
            last = delivered[-1]
            delivered.clear()
        while delivered and _identity(delivered[0]) not in is_open:
            last = delivered.popleft()
        if last is not None:
            self._reach(last)

    def _reach(self, last: RawRecord) -> None:
        """Everything up to this record is acknowledged."""
        if last.offset is not None:
            # Not below what was reached before a seek back: progress never goes back.
            self.next_offset = max(self.next_offset or 0, last.offset + 1)

    def give_back(self, record: Record[Any, Any], due_s: float) -> bool:
        self.spread()
        identity = _identity(record)
        if identity not in self.open:
            return False
        if identity not in self.lanes:  # given back twice while it waits, it was still delivered once
            self.attempts[identity] = max(self.attempts.get(identity, 1), record.attempt) + 1
        # The application's record has a decoded key; the lane is that of the bytes.
        lane = self.lane(next(kept for kept in self.delivered if _identity(kept) == identity))
        held = self.held.setdefault(lane, _HeldLane(due_s))
        held.due_s = max(held.due_s, due_s)
        held.waiting.clear()
        is_behind = False
        for candidate in self.delivered:
            found = _identity(candidate)
            is_behind = is_behind or found == identity
            if (is_behind or found in self.lanes) and found in self.open and self.lane(candidate) == lane:
                held.waiting.append(candidate)
                self.lanes[found] = lane
        return True

    def put_back(self, record: RawRecord) -> None:
        """Hand this record out first in its lane, at once."""
        self.spread()
        identity, lane = _identity(record), self.lane(record)
        self.held.setdefault(lane, _HeldLane(_AT_ONCE_S)).waiting.appendleft(record)
        self.lanes[identity] = lane
        if not record.is_redelivered:
            self.unseen.add(identity)

    def due(self, now_s: float, room: int) -> list[RawRecord]:
        found: list[RawRecord] = []
        for lane in [lane for lane, held in self.held.items() if held.due_s <= now_s]:
            waiting = self.held[lane].waiting
            while waiting and len(found) < room:
                found.append(self._again(waiting.popleft()))
            self._free_if_empty(lane)
        return found

    def _again(self, record: RawRecord) -> RawRecord:
        identity = _identity(record)
        del self.lanes[identity]
        if identity in self.unseen:
            self.unseen.remove(identity)
            return record
        attempt = self.attempts.get(identity, record.attempt)
        return msgspec.structs.replace(record, attempt=attempt, is_redelivered=True)


class InFlight:
    """The ledgers of all logs that a consumer holds."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ledgers: dict[TopicPartition, _Ledger] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._last: list[RawRecord] = []
        self._last_runs: _Runs = []

    def __len__(self) -> int:
        """Records delivered by the driver and not acknowledged, held ones included."""
        return sum(map(len, self._ledgers.values()))

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin a ledger for each of these logs that has none."""
        for partition in partitions:
            self._ledgers.setdefault(partition, _Ledger(self._order))

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget these logs: they went away."""
        for partition in partitions:
            self._ledgers.pop(partition, None)
            self._committed.pop(partition, None)

    def rewind(
        self, partitions: Iterable[TopicPartition], stored: Mapping[TopicPartition, int | None] | None = None
    ) -> None:
        """Forget what is in flight in these logs; they stay held (after a seek). Acknowledged
        progress stays, and what the group has ``stored`` is a floor to what is stored next."""
        for partition in partitions:
            ledger = self._ledgers.get(partition)
            if ledger is None:
                continue
            fresh = self._ledgers[partition] = _Ledger(self._order)
            fresh.next_offset = ledger.next_offset
            floor = stored.get(partition) if stored else None
            if floor is not None:
                self._committed[partition] = max(floor, self._committed.get(partition, floor))

    def deliver(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        """Enter what the driver returned; gives what may be handed out now. The rest waits in
        its held lane. Records of logs that are not held are dropped."""
        # A list of our own: what is handed out is the application's to change.
        self._last = list(records)
        runs = self._last_runs = _runs(self._last)
        if len(runs) == 1:
            free = self._deliver_run(*runs[0])
            return records if free is self._last else free
        found: list[RawRecord] = []
        for partition, run in runs:
            found.extend(self._deliver_run(partition, run))
        return found

    def _deliver_run(self, partition: TopicPartition, run: Sequence[RawRecord]) -> Sequence[RawRecord]:
        ledger = self._ledgers.get(partition)
        return ledger.deliver(run) if ledger is not None else ()

    def acknowledge(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        """Mark records as done, in any order; returns those that were not yet. A record that was
        acknowledged before is passed over; one whose log is not held raises
        :class:`NotAssigned`, after the others were taken."""
        is_last = type(records) is list and records == self._last
        taken: list[Sequence[RawRecord]] = []
        missing: TopicPartition | None = None
        for partition, run in self._last_runs if is_last else _runs(records):
            ledger = self._ledgers.get(partition)
            if ledger is None:
                missing = partition
            else:
                taken.append(ledger.acknowledge(run))
        if missing is not None:
            raise _not_held(missing)
        return taken[0] if len(taken) == 1 else list(chain.from_iterable(taken))

    def acknowledge_out(self, partitions: Iterable[TopicPartition]) -> None:
        """Mark everything as done that was handed out of these logs and not given back."""
        for partition in partitions:
            ledger = self._ledgers.get(partition)
            if ledger is not None:
                ledger.acknowledge_out()

    def give_back(self, record: Record[Any, Any], due_s: float) -> None:
        """Hold the record's lane until ``due_s``, then deliver it and what follows in the lane again."""
        partition = TopicPartition(record.topic, record.partition)
        ledger = self._ledgers.get(partition)
        if ledger is None or not ledger.give_back(record, due_s):
            raise _not_held(partition)

    def put_back(self, records: Sequence[RawRecord]) -> None:
        """These, given by ``deliver`` or ``due`` just now, were not handed out after all: they
        are due at once, before all others."""
        for record in reversed(records):
            ledger = self._ledgers.get(TopicPartition(record.topic, record.partition))
            if ledger is not None:
                ledger.put_back(record)

    def is_held(self, record: Record[Any, Any]) -> bool:
        """Whether this record was given back and waits to be delivered again."""
        ledger = self._ledgers.get(TopicPartition(record.topic, record.partition))
        return ledger is not None and _identity(record) in ledger.lanes

    def due(self, now_s: float, room: int, paused: Iterable[TopicPartition] = ()) -> list[RawRecord]:
        """Up to ``room`` records of held lanes whose time has come, in the order of each lane."""
        found: list[RawRecord] = []
        for partition, ledger in self._ledgers.items():
            if ledger.held and len(found) < room and partition not in paused:
                found.extend(ledger.due(now_s, room - len(found)))
        return found

    def next_due_s(self, paused: Iterable[TopicPartition] = ()) -> float | None:
        """When the next held lane is due."""
        times = [
            held.due_s
            for partition, ledger in self._ledgers.items()
            if partition not in paused
            for held in ledger.held.values()
        ]
        return min(times, default=None)

    def parked(self, partition: TopicPartition) -> int:
        """Records of this log that wait in held lanes."""
        ledger = self._ledgers.get(partition)
        return len(ledger.lanes) if ledger is not None else 0

    def first_unseen(self, partition: TopicPartition) -> int | None:
        """The smallest offset among the waiting records of this log that were never handed out."""
        ledger = self._ledgers.get(partition)
        if ledger is None or not ledger.unseen:
            return None
        return min((found for found in ledger.unseen if isinstance(found, int)), default=None)

    def progress(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """The next offset to read in each log that moved since it was last committed. It never
        goes back, also not after a seek to an earlier place."""
        chosen = self._ledgers if partitions is None else partitions
        moved = {}
        for partition in chosen:
            ledger = self._ledgers.get(partition)
            if ledger is None or ledger.next_offset is None:
                continue
            if ledger.next_offset > self._committed.get(partition, -1):
                moved[partition] = ledger.next_offset
        return moved

    def mark_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """These offsets are stored."""
        for partition, offset in offsets.items():
            if partition in self._ledgers:
                self._committed[partition] = offset

    def settle(self, offsets: Mapping[TopicPartition, int]) -> None:
        """A transaction stored these offsets."""
        self.mark_committed(offsets)
        for partition in offsets:
            if partition in self._ledgers:
                self._ledgers[partition].settle()

    def first_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """In the logs of which anything was handed out since they were assigned, moved or last
        settled: the offset of the first such record."""
        ledgers = {partition: self._ledgers.get(partition) for partition in partitions}
        return {
            partition: ledger.first_offset
            for partition, ledger in ledgers.items()
            if ledger is not None and ledger.first_offset is not None
        }

    def restart(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget what is in flight in these logs, and that anything of it was acknowledged."""
        for partition in partitions:
            if partition in self._ledgers:
                self._ledgers[partition] = _Ledger(self._order)

    def overrule(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The application chose these offsets itself, perhaps to go back: until it acknowledges
        further, there is no other progress to store."""
        self.mark_committed(offsets)
        for partition in offsets:
            if partition in self._ledgers:
                self._ledgers[partition].next_offset = None


def _are_same(records: Sequence[RawRecord], run: Sequence[RawRecord]) -> bool:
    """Whether these are the records of the run; decoded ones are other objects."""
    return len(records) == len(run) and (records == run or _identities(records) == _identities(run))


_Runs = list[tuple[TopicPartition, Sequence[RawRecord]]]


def _runs(records: Sequence[RawRecord]) -> _Runs:
    """The records cut where the log changes; most polls are one or a few runs."""
    try:
        return _cut(records)
    except (AttributeError, TypeError) as cause:
        raise UsageError(f"acknowledge records as poll() returned them, not a {_kind(records)}") from cause


def _cut(records: Sequence[RawRecord]) -> _Runs:
    many = len(records)
    if not many:
        return []
    # Comprehensions: a C loop over ``attrgetter`` takes twice as long.
    first = next(iter(records)).topic
    partitions = [record.partition for record in records if record.topic == first]
    if len(partitions) == many == partitions.count(partitions[0]):
        return [(TopicPartition(first, partitions[0]), records)]
    places = [(record.topic, record.partition) for record in records]
    starts = [0, *compress(range(1, many), map(ne, places, places[1:]))]
    ends = [*starts[1:], many]
    return [
        (TopicPartition(*places[start]), records[start:end]) for start, end in zip(starts, ends, strict=True)
    ]


def _kind(given: object) -> str:
    inside = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
    return type(given).__name__ + inside


def _not_held(partition: TopicPartition) -> NotAssigned:
    return NotAssigned(
        f"{partition.topic}[{partition.partition}] is not held any more, or the record is done: "
        "it belongs to another member now, which gets it again; drop this one"
    )
