"""The group engine: by hand where the order of steps matters, and as a state machine for the rest."""

import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamproof.core.groups import Group, NotHeld, StaleEpoch, Subscription, Timeouts, UnknownMember
from streamproof.records import TopicPartition

READINGS = Subscription(frozenset({"readings"}))
SECOND = 1_000_000_000
LOCAL = Timeouts(session_ns=None, poll_ns=300 * SECOND)
REMOTE = Timeouts(session_ns=10 * SECOND, poll_ns=300 * SECOND)
NONE: frozenset[TopicPartition] = frozenset()


def logs(*partitions: int, topic: str = "readings") -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(topic, partition) for partition in partitions)


@pytest.fixture
def group() -> Group:
    return Group("g", {"readings": 4, "alerts": 2})


def test_a_log_changes_hands_only_after_its_holder_confirmed(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    assert group.heartbeat("a", NONE, 0).partitions == logs(0, 1, 2, 3)
    group.join("b", READINGS, LOCAL, 0)
    waiting = group.heartbeat("b", NONE, 0)
    assert (waiting.epoch, waiting.partitions, waiting.is_complete) == (2, NONE, False)
    leaving = group.heartbeat("a", logs(0, 1, 2, 3), 0)
    assert leaving.epoch == 1
    assert leaving.revoking == logs(2, 3)
    assert group.heartbeat("a", logs(0, 1, 2, 3), 0) == leaving  # said again, nothing confirmed
    assert group.heartbeat("b", NONE, 0).partitions == NONE
    group.require_holder("a", 1, leaving.revoking)  # still its own: it may commit
    kept = group.heartbeat("a", logs(0, 1), 0)
    assert (kept.epoch, kept.partitions, kept.is_complete) == (2, logs(0, 1), True)
    assert "b" in group.news
    taken = group.heartbeat("b", NONE, 0)
    assert (taken.epoch, taken.partitions, taken.is_complete) == (2, logs(2, 3), True)
    assert group.state == "stable"
    assert not group.news


def test_a_log_granted_but_not_yet_listed_by_its_member_stays_granted(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.heartbeat("a", NONE, 0)
    assert group.heartbeat("a", NONE, 0).partitions == logs(0, 1, 2, 3)


def test_a_revocation_that_became_needless_gives_the_log_back(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.heartbeat("a", NONE, 0)
    group.join("b", READINGS, LOCAL, 0)
    assert group.heartbeat("a", logs(0, 1, 2, 3), 0).revoking == logs(2, 3)
    group.leave("b")
    again = group.heartbeat("a", logs(0, 1), 0)  # it has let go already
    assert (again.partitions, again.revoking) == (logs(0, 1, 2, 3), NONE)
    assert again.epoch == 3


def test_a_member_that_is_silent_loses_its_logs_and_its_commits(group: Group) -> None:
    group.join("a", READINGS, REMOTE, 0)
    epoch = group.heartbeat("a", NONE, 0).epoch
    assert group.next_deadline_ns == 10 * SECOND
    group.heartbeat("a", logs(0, 1, 2, 3), 4 * SECOND)
    assert group.expire(14 * SECOND - 1) == []
    assert group.expire(14 * SECOND) == ["a"]
    assert group.state == "empty"
    with pytest.raises(UnknownMember, match="'a'"):
        group.require_holder("a", epoch, logs(0))
    with pytest.raises(UnknownMember):
        group.heartbeat("a", NONE, 14 * SECOND)


def test_a_local_member_lives_as_long_as_it_polls(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.polls("a")
    assert group.next_deadline_ns is None  # inside a poll, however long
    group.polled("a", 5 * SECOND)
    assert group.expire(304 * SECOND) == []
    assert group.expire(305 * SECOND) == ["a"]


def test_a_local_member_that_never_polls_is_not_waited_for_without_end(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 2 * SECOND)
    assert group.next_deadline_ns == 302 * SECOND


def test_a_member_that_died_expires_with_its_session_and_others_are_told(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.join("b", READINGS, LOCAL, 0)
    group.heartbeat("a", NONE, 0)
    group.heartbeat("b", NONE, 0)
    group.silence("a", 0, 10 * SECOND)
    assert "b" in group.news  # it has to look at the new deadline
    assert group.next_deadline_ns == 10 * SECOND
    assert group.expire(10 * SECOND) == ["a"]
    assert group.heartbeat("b", logs(2, 3), 10 * SECOND).partitions == logs(0, 1, 2, 3)


def test_a_member_that_was_only_slow_lives_on(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.silence("a", 0, 10 * SECOND)
    group.heartbeat("a", NONE, 9 * SECOND)
    assert group.expire(11 * SECOND) == []


def test_a_revocation_has_a_deadline(group: Group) -> None:
    group.join("a", READINGS, Timeouts(None, 60 * SECOND), 0)
    group.heartbeat("a", NONE, 0)
    group.join("b", READINGS, LOCAL, 0)
    group.polls("a")
    for now in (1 * SECOND, 40 * SECOND):  # asking again does not put it off
        group.heartbeat("a", logs(0, 1, 2, 3), now)
    assert group.expire(61 * SECOND) == ["a"]
    assert group.heartbeat("b", NONE, 61 * SECOND).partitions == logs(0, 1, 2, 3)


def test_commits_are_fenced_by_log_and_epoch(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.heartbeat("a", NONE, 0)
    group.require_holder("a", 1, logs(0, 3))
    with pytest.raises(NotHeld, match=r"alerts\[0\]"):
        group.require_holder("a", 1, logs(0, topic="alerts"))
    with pytest.raises(StaleEpoch, match="generation 1"):
        group.require_holder("a", 0, logs(0))
    with pytest.raises(StaleEpoch):
        group.require_holder("a", 2, logs(0))


def test_a_commit_from_before_a_log_went_and_came_back_is_refused(group: Group) -> None:
    group.join("a", READINGS, LOCAL, 0)
    group.heartbeat("a", NONE, 0)
    group.join("b", READINGS, LOCAL, 0)
    group.heartbeat("a", logs(0, 1, 2, 3), 0)
    group.heartbeat("a", logs(0, 1), 0)
    group.heartbeat("b", NONE, 0)
    group.leave("b")
    back = group.heartbeat("a", logs(0, 1), 0)
    assert back.partitions == logs(0, 1, 2, 3)
    group.require_holder("a", 1, logs(0, 1))  # held all along
    with pytest.raises(StaleEpoch):
        group.require_holder("a", 1, logs(2))
    group.require_holder("a", back.epoch, logs(2))


def test_a_deleted_topic_takes_its_logs_at_once_even_if_it_is_there_again(group: Group) -> None:
    group.join("a", Subscription(frozenset({"readings", "alerts"})), LOCAL, 0)
    first = group.heartbeat("a", NONE, 0)
    group.topics_changed({"readings": 4, "alerts": 2}, frozenset({"alerts"}))
    with pytest.raises(NotHeld):
        group.require_holder("a", first.epoch, logs(0, topic="alerts"))
    again = group.heartbeat("a", logs(0, 1, 2, 3), 0)
    assert again.partitions == first.partitions
    assert again.epoch == 2
    group.topics_changed({"readings": 4}, frozenset({"alerts"}))
    assert group.heartbeat("a", again.partitions, 0).partitions == logs(0, 1, 2, 3)


def test_patterns_find_new_topics_and_others_are_left_in_peace(group: Group) -> None:
    group.join("a", Subscription(pattern=re.compile("read.*")), LOCAL, 0)
    assert group.heartbeat("a", NONE, 0).partitions == logs(0, 1, 2, 3)
    group.topics_changed({"readings": 4, "unread": 3})
    assert not group.news
    group.topics_changed({"readings": 5, "unread": 3, "read": 1})
    assert group.news == {"a"}
    found = group.heartbeat("a", logs(0, 1, 2, 3), 0).partitions
    assert found == logs(0, 1, 2, 3, 4) | logs(0, topic="read")


class GroupMachine(RuleBasedStateMachine):
    """Members as remote clients that learn of changes only from their own heartbeats."""

    @initialize(partitions=st.integers(0, 6))
    def begin(self, partitions: int) -> None:
        self.counts = {"a": partitions, "b": 3} if partitions else {"b": 3}
        self.group = Group("g", self.counts)
        self.now = 0
        self.joined = 0
        self.held: dict[str, frozenset[TopicPartition]] = {}
        self.epochs: dict[str, int] = {}
        self.last_epoch_of: dict[TopicPartition, int] = {}
        self.last_epoch = 0

    topics = st.sampled_from([frozenset("a"), frozenset("b"), frozenset("ab")])

    @precondition(lambda self: len(self.held) < 5)
    @rule(topics=topics, is_remote=st.booleans())
    def join(self, topics: frozenset[str], is_remote: bool) -> None:
        member = f"m{self.joined}"
        self.joined += 1
        self.group.join(member, Subscription(topics), REMOTE if is_remote else LOCAL, self.now)
        self.held[member] = NONE
        self.epochs[member] = 0

    def pick(self, share: float) -> str:
        return sorted(self.held)[int(share * (len(self.held) - 1))]

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0, 1))
    def leave(self, share: float) -> None:
        member = self.pick(share)
        self.group.leave(member)
        del self.held[member]

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0, 1), confirms=st.booleans())
    def heartbeat(self, share: float, confirms: bool) -> None:
        self.beat(self.pick(share), confirms)

    def beat(self, member: str, confirms: bool = True) -> bool:
        """One heartbeat of a client; whether anything changed for it."""
        before = (self.held.get(member), self.epochs[member])
        try:
            seen = self.group.heartbeat(member, self.held[member], self.now)
        except UnknownMember:
            del self.held[member]
            return True
        assert seen.epoch >= self.epochs[member]
        for log in seen.partitions - self.held[member]:
            assert seen.epoch > self.last_epoch_of.get(log, 0), "a log was given twice in one epoch"
            self.last_epoch_of[log] = seen.epoch
        self.epochs[member] = seen.epoch
        self.held[member] = seen.partitions | (NONE if confirms else seen.revoking)
        return before != (self.held[member], self.epochs[member]) or bool(seen.revoking)

    @rule(seconds=st.sampled_from([1, 9, 11, 301]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND
        late = self.group.expire(self.now)
        for member in late:
            held = self.held[member]
            with pytest.raises(UnknownMember):
                self.group.require_holder(member, self.epochs[member], held)
        deadline = self.group.next_deadline_ns
        assert deadline is None or deadline > self.now

    @rule(change=st.sampled_from(["grow", "delete", "recreate"]))
    def topics_change(self, change: str) -> None:
        deleted = frozenset({"a"}) if change != "grow" else frozenset()
        if change == "delete":
            self.counts.pop("a", None)
        else:
            self.counts["a"] = self.counts.get("a", 0) + (1 if change == "grow" else 0) or 2
        self.group.topics_changed(self.counts, deleted)
        for member, held in self.held.items():  # a client that reads a deleted log finds out by itself
            self.held[member] = frozenset(log for log in held if log.topic not in deleted)

    @invariant()
    def nobody_shares_a_log(self) -> None:
        granted = [log for member in self.group.members.values() for log in member.granted]
        assert len(granted) == len(set(granted))
        living = [self.held[member] for member in self.held if member in self.group.members]
        assert sum(map(len, living)) == len(frozenset().union(*living))
        for member, held in self.held.items():
            if member in self.group.members:
                assert held <= self.group.members[member].granted.keys()
                self.group.require_holder(member, self.epochs[member], held)

    @invariant()
    def epochs_only_rise(self) -> None:
        assert self.group.epoch >= self.last_epoch
        self.last_epoch = self.group.epoch

    @rule()
    def everybody_catches_up(self) -> None:
        """Whoever has news hears it: soon nobody has, and every log has its reader."""
        for _ in range(20):
            if not [member for member in list(self.held) if self.beat(member)]:
                break
        else:
            raise AssertionError("the group does not settle")
        assert not self.group.news
        assert self.group.state == ("stable" if self.held else "empty")
        subscribed = set().union(*(member.subscription.topics for member in self.group.members.values()))
        wanted = {log for topic in subscribed for log in logs(*range(self.counts.get(topic, 0)), topic=topic)}
        assert set().union(*self.held.values()) == wanted

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0, 1))
    def news_reaches_whom_it_concerns(self, share: float) -> None:
        """Who is not in the news learns nothing from a heartbeat."""
        member = self.pick(share)
        if member in self.group.members and member not in self.group.news:
            revoking = self.group.members[member].revoking
            if not revoking:
                assert not self.beat(member)


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
