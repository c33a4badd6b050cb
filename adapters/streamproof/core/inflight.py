"""What a consumer handed to the application and the application has not acknowledged yet.

A pure ledger: no I/O, no clock (times are passed in), no locks (the consumer guards it). It keeps

* the *low-water mark* of each log: acks may come in any order, but progress is the offset below
  which everything is acknowledged, so that a crash never skips a record;
* *held lanes*: a record given back with ``nack`` holds its lane (its key, or its whole log) until
  it is due; records of that lane that come after it, handed out or not, wait behind it and are
  delivered again in their order. Nothing is given back to the broker, which would lose the order.
  ``attempt`` counts the nacks of the record itself, not those of one before it in the lane.

An *identity* names a record within its log: its offset, or the driver's token where it has none.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from streamproof.errors import NotAssigned, UsageError
from streamproof.options import Order
from streamproof.records import RawRecord, Record, TopicPartition

_WHOLE_LOG = object()
_AT_ONCE_S = float("-inf")


def _identity(record: Record[Any, Any]) -> Hashable:
    return record.offset if record.offset is not None else record.token


class _HeldLane:
    """Records of one lane that wait, in order, until ``due_s``."""

    __slots__ = ("due_s", "waiting")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.waiting: deque[RawRecord] = deque()


class _Ledger:
    """One log's part: see the module's docstring. A lane is held as long as a record waits in it."""

    __slots__ = ("attempts", "delivered", "held", "lanes", "next_offset", "open", "order", "unseen")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.delivered: deque[RawRecord] = deque()
        self.open: set[Hashable] = set()
        self.attempts: dict[Hashable, int] = {}
        self.held: dict[object, _HeldLane] = {}
        self.lanes: dict[Hashable, object] = {}  # of each record that waits
        self.unseen: set[Hashable] = set()  # those of them that were never handed out
        self.next_offset: int | None = None

    def lane(self, record: RawRecord) -> object:
        return record.key if self.order == "key" else _WHOLE_LOG

    def deliver(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        self.delivered.extend(records)
        self.open.update(map(_identity, records))
        if not self.held:
            return records
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

    def acknowledge(self, records: Iterable[RawRecord]) -> list[RawRecord]:
        is_open = self.open
        taken = []
        for record in records:
            identity = _identity(record)
            if identity in is_open:
                is_open.remove(identity)
                taken.append(record)
        if self.lanes or self.attempts:
            self._forget(map(_identity, taken))
        self._advance()
        return taken

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
        while delivered and _identity(delivered[0]) not in is_open:
            last = delivered.popleft()
        if last is not None and last.offset is not None:
            # Not below what was reached before a seek back: progress never goes back.
            self.next_offset = max(self.next_offset or 0, last.offset + 1)

    def give_back(self, record: Record[Any, Any], due_s: float) -> bool:
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

    def __len__(self) -> int:
        """Records delivered by the driver and not acknowledged, held ones included."""
        return sum(len(ledger.open) for ledger in self._ledgers.values())

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
        runs = _runs(records)
        if len(runs) == 1:
            return self._deliver_run(*runs[0])
        free: list[RawRecord] = []
        for partition, run in runs:
            free.extend(self._deliver_run(partition, run))
        return free

    def _deliver_run(self, partition: TopicPartition, run: Sequence[RawRecord]) -> Sequence[RawRecord]:
        ledger = self._ledgers.get(partition)
        return ledger.deliver(run) if ledger is not None else ()

    def acknowledge(self, records: Sequence[RawRecord]) -> list[RawRecord]:
        """Mark records as done, in any order; returns those that were not yet. A record that was
        acknowledged before is passed over; one whose log is not held raises
        :class:`NotAssigned`, after the others were taken."""
        taken: list[RawRecord] = []
        missing: TopicPartition | None = None
        for partition, run in _runs(records):
            ledger = self._ledgers.get(partition)
            if ledger is None:
                missing = partition
            else:
                taken.extend(ledger.acknowledge(run))
        if missing is not None:
            raise _not_held(missing)
        return taken

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

    def overrule(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The application chose these offsets itself, perhaps to go back: until it acknowledges
        further, there is no other progress to store."""
        self.mark_committed(offsets)
        for partition in offsets:
            if partition in self._ledgers:
                self._ledgers[partition].next_offset = None


def _runs(records: Sequence[RawRecord]) -> list[tuple[TopicPartition, Sequence[RawRecord]]]:
    """The records cut where the log changes; most polls are one or a few runs."""
    try:
        return _cut(records)
    except (AttributeError, TypeError) as cause:
        raise UsageError(f"acknowledge records as poll() returned them, not a {_kind(records)}") from cause


def _cut(records: Sequence[RawRecord]) -> list[tuple[TopicPartition, Sequence[RawRecord]]]:
    runs: list[tuple[TopicPartition, Sequence[RawRecord]]] = []
    start = 0
    topic, partition = None, -1
    for index, record in enumerate(records):
        if record.partition != partition or record.topic != topic:
            if topic is not None:
                runs.append((TopicPartition(topic, partition), records[start:index]))
            start, topic, partition = index, record.topic, record.partition
    if topic is not None:
        runs.append((TopicPartition(topic, partition), records[start:] if start else records))
    return runs


def _kind(given: object) -> str:
    inside = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
    return type(given).__name__ + inside


def _not_held(partition: TopicPartition) -> NotAssigned:
    return NotAssigned(
        f"{partition.topic}[{partition.partition}] is not held any more, or the record is done: "
        "it belongs to another member now, which gets it again; drop this one"
    )
