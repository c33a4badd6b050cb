"""The ledger against a model that keeps one list of every record and knows nothing of speed."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from streamproof.core.inflight import InFlight
from streamproof.errors import NotAssigned
from streamproof.options import Order
from streamproof.records import RawRecord, Record, TopicPartition

LOGS = [TopicPartition("t", 0), TopicPartition("t", 1)]
KEYS = [None, b"a", b"b"]


def raw(log: TopicPartition, offset: int, key: bytes | None) -> RawRecord:
    return Record(*log, offset, key, None)


@dataclass
class Kept:
    """One record as the model sees it."""

    record: RawRecord
    nacks: int = 0
    is_acked: bool = False
    is_out: bool = False
    """In the application's hands."""
    was_out: bool = False
    due_s: float | None = None
    """Set on the records of a held lane: the same on all of them."""


@dataclass
class Log:
    """One log as the model sees it."""

    kept: list[Kept] = field(default_factory=list)
    progress: int | None = None
    committed: int = -1
    next_offset: int = 0
    polls: list[list[Kept]] = field(default_factory=list)


class InFlightMachine(RuleBasedStateMachine):
    @initialize(order=st.sampled_from(["partition", "key"]))
    def begin(self, order: Order) -> None:
        self.order = order
        self.now_s = 0.0
        self.real = InFlight(order)
        self.logs: dict[TopicPartition, Log] = {}
        self.handed: list[RawRecord] = []  # the very list that the last poll gave
        self.real.open(LOGS)
        for log in LOGS:
            self.logs[log] = Log()

    # -- what happens ------------------------------------------------------------------------

    @rule(data=st.data(), log=st.sampled_from(LOGS), gap=st.integers(0, 2))
    def deliver(self, data: st.DataObject, log: TopicPartition, gap: int) -> None:
        keys = data.draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
        if log not in self.held():
            foreign = [raw(log, offset, key) for offset, key in enumerate(keys)]
            assert list(self.real.deliver(foreign)) == []
            return
        known = self.logs[log]
        fresh = []
        known.next_offset += gap
        for key in keys:
            fresh.append(raw(log, known.next_offset, key))
            known.next_offset += 1
        given = self.real.deliver(fresh)
        self.handed = given if isinstance(given, list) else list(given)
        free = list(self.handed)
        expected = []
        for record in fresh:
            due_s = self.lane_due(log, record)
            known.kept.append(Kept(record, is_out=due_s is None, was_out=due_s is None, due_s=due_s))
            if due_s is None:
                expected.append(record)
        known.polls.append(known.kept[-len(fresh) :])
        assert free == expected

    @precondition(lambda self: self.open_records())
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.everything()), min_size=1, max_size=5))
        new = []
        for log, kept in chosen:
            if not kept.is_acked:
                kept.is_acked, kept.is_out, kept.due_s = True, False, None
                new.append(kept.record)
                self.advance(self.logs[log])
        assert self.real.acknowledge([kept.record for _, kept in chosen]) == new

    @precondition(lambda self: any(known.polls for known in self.logs.values()))
    @rule(data=st.data(), is_decoded=st.booleans())
    def acknowledge_as_it_came(self, data: st.DataObject, is_decoded: bool) -> None:
        """Whole polls; decoded records are other objects."""
        polls = [poll for known in self.logs.values() for poll in known.polls]
        chosen = [kept for poll in data.draw(st.lists(st.sampled_from(polls), max_size=3)) for kept in poll]
        given = [replace(kept.record, value="decoded") if is_decoded else kept.record for kept in chosen]
        new = []
        for record, kept in zip(given, chosen, strict=True):
            if not kept.is_acked:
                kept.is_acked, kept.is_out, kept.due_s = True, False, None
                new.append(record)
        for known in self.logs.values():
            self.advance(known)
        assert self.real.acknowledge(given) == new

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), is_changed=st.booleans())
    def acknowledge_the_last_poll(self, data: st.DataObject, is_changed: bool) -> None:
        """The list as it came, or after the application took records out of it."""
        if is_changed:
            del self.handed[data.draw(st.integers(0, len(self.handed) - 1))]
        gone = [record for record in self.handed if record.topic_partition not in self.logs]
        known = [k for record in self.handed if record not in gone for k in self.all_kept_of(record)]
        new = [kept for kept in known if not kept.is_acked]
        for kept in new:
            kept.is_acked, kept.is_out, kept.due_s = True, False, None
            self.advance(self.logs[kept.record.topic_partition])
        try:
            assert self.real.acknowledge(self.handed) == [kept.record for kept in new]
        except NotAssigned:
            assert gone
        else:
            assert not gone

    @precondition(lambda self: any(kept.was_out for _, kept in self.open_records()))
    @rule(data=st.data(), delay_s=st.sampled_from([0.0, 1.0, 5.0]))
    def give_back(self, data: st.DataObject, delay_s: float) -> None:
        log, kept = data.draw(st.sampled_from([each for each in self.open_records() if each[1].was_out]))
        known = self.logs[log]
        lane = [each for each in known.kept if self.same_lane(each.record, kept.record)]
        former = [each.due_s for each in lane if each.due_s is not None]
        due_s = max([self.now_s + delay_s, *former])
        if kept.is_out:
            kept.nacks += 1  # given back twice while it waits, it was still delivered once
        for each in lane:
            is_behind = known.kept.index(each) >= known.kept.index(kept)
            if (is_behind or each.due_s is not None) and not each.is_acked:
                each.is_out = False
                each.due_s = due_s
        self.real.give_back(kept.record, self.now_s + delay_s)

    @precondition(lambda self: any(kept.due_s is not None for _, kept in self.everything()))
    @rule(data=st.data(), room=st.integers(1, 6))
    def put_back_what_was_due(self, data: st.DataObject, room: int) -> None:
        found = self.real.due(self.now_s, room)
        for record in found:
            self.release(self.kept_of(record), is_seen=False)
        kept_back = data.draw(st.integers(0, len(found)))
        self.real.put_back(found[kept_back:])
        for record in found[:kept_back]:
            self.kept_of(record).was_out = True
        for record in found[kept_back:]:
            kept = self.kept_of(record)
            kept.is_out = False
            times = [
                each.due_s
                for each in self.logs[record.topic_partition].kept
                if each.due_s is not None and self.same_lane(each.record, record)
            ]
            kept.due_s = max(times, default=float("-inf"))

    @rule(room=st.integers(1, 6), passed_s=st.sampled_from([0.0, 1.0, 6.0]))
    def take_due(self, room: int, passed_s: float) -> None:
        self.now_s += passed_s
        found = self.real.due(self.now_s, room)
        assert len(found) <= room
        waiting = sum(1 for _, kept in self.open_records() if self.is_due(kept))
        assert len(found) == min(room, waiting)
        for record in found:
            kept = self.kept_of(record)
            lane = [each for each in self.logs[record.topic_partition].kept if self.is_due(each)]
            first = next(each for each in lane if self.same_lane(each.record, record))
            assert first is kept, "a lane is handed out in its order"
            assert record.attempt == kept.nacks + 1
            assert record.is_redelivered == kept.was_out
            self.release(kept)

    @rule(log=st.sampled_from(LOGS), keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    def put_back_a_fresh_poll(self, log: TopicPartition, keys: list[bytes | None]) -> None:
        if log not in self.held():
            return
        known = self.logs[log]
        fresh = [raw(log, known.next_offset + index, key) for index, key in enumerate(keys)]
        known.next_offset += len(keys)
        handed = list(self.real.deliver(fresh))
        self.real.put_back(handed)
        for record in fresh:
            due_s = self.lane_due(log, record)
            known.kept.append(Kept(record, due_s=float("-inf") if due_s is None else due_s))

    @rule(log=st.sampled_from(LOGS))
    def lose_or_gain(self, log: TopicPartition) -> None:
        if log in self.held():
            gone = [kept.record for kept in self.logs[log].kept]
            self.real.drop([log])
            del self.logs[log]
            if gone:
                try:
                    self.real.acknowledge(gone)
                except NotAssigned:
                    return
                raise AssertionError("an ack in a log that went away was taken")
        else:
            self.real.open([log])
            self.logs[log] = Log()
            # As after a seek: what was handed out in the former term is known by its offset only.
            self.handed = [record for record in self.handed if record.topic_partition != log]

    @rule(log=st.sampled_from(LOGS))
    def seek_back(self, log: TopicPartition) -> None:
        self.real.rewind([log])
        # What was handed out before is known by its offset, which now names the record read again.
        self.handed = [record for record in self.handed if record.topic_partition != log]
        if log in self.held():
            known = self.logs[log]
            known.kept, known.polls, known.next_offset = [], [], 0

    @rule()
    def store(self) -> None:
        progress = self.real.progress()
        self.real.mark_committed(progress)
        for log, offset in progress.items():
            self.logs[log].committed = offset

    # -- what holds always ---------------------------------------------------------------------

    @invariant()
    def progress_is_below_every_open_record(self) -> None:
        expected = {
            log: known.progress
            for log, known in self.logs.items()
            if known.progress is not None and known.progress > known.committed
        }
        assert self.real.progress() == expected

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.real) == len(self.open_records())
        for log in self.held():
            known = self.logs[log]
            unseen = [k.record.offset for k in known.kept if not k.was_out and not k.is_acked]
            assert self.real.first_unseen(log) == min(unseen, default=None)  # type: ignore[type-var]
            assert self.real.parked(log) == sum(1 for k in known.kept if k.due_s is not None)

    @invariant()
    def the_next_time_is_that_of_the_first_held_lane(self) -> None:
        times = [kept.due_s for _, kept in self.everything() if kept.due_s is not None]
        assert self.real.next_due_s() == min(times, default=None)

    # -- the model's own ---------------------------------------------------------------------------

    def held(self) -> list[TopicPartition]:
        return list(self.logs)

    def everything(self) -> list[tuple[TopicPartition, Kept]]:
        return [(log, kept) for log, known in self.logs.items() for kept in known.kept]

    def open_records(self) -> list[tuple[TopicPartition, Kept]]:
        return [(log, kept) for log, kept in self.everything() if not kept.is_acked]

    def same_lane(self, one: RawRecord, other: RawRecord) -> bool:
        return self.order == "partition" or one.key == other.key

    def lane_due(self, log: TopicPartition, record: RawRecord) -> float | None:
        times = [
            kept.due_s
            for kept in self.logs[log].kept
            if kept.due_s is not None and self.same_lane(kept.record, record)
        ]
        return max(times, default=None)

    def kept_of(self, record: RawRecord) -> Kept:
        return next(k for k in self.logs[record.topic_partition].kept if k.record.offset == record.offset)

    def all_kept_of(self, record: RawRecord) -> list[Kept]:
        """None, if the log was rewound or came again since."""
        return [k for k in self.logs[record.topic_partition].kept if k.record is record]

    def is_due(self, kept: Kept) -> bool:
        return kept.due_s is not None and kept.due_s <= self.now_s

    def release(self, kept: Kept, is_seen: bool = True) -> None:
        kept.is_out, kept.due_s = True, None
        kept.was_out = kept.was_out or is_seen

    def advance(self, known: Log) -> None:
        """Progress: below the first open record, at most after the last acknowledged one before it."""
        for kept in known.kept:
            if not kept.is_acked:
                return
            assert kept.record.offset is not None
            known.progress = max(known.progress or 0, kept.record.offset + 1)


InFlightMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_in_flight_like_its_model = InFlightMachine.TestCase
