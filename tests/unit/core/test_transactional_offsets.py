"""Offsets within transactions (KIP-447), and what may go while a transaction is open."""

import pytest

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupNotEmpty, UnknownGroup
from streamproof.core.groups import NotHeld, StaleEpoch, Subscription, Timeouts, UnknownMember
from streamproof.core.offsets import CommittedOffset
from streamproof.core.producer_errors import NotInTransaction
from streamproof.core.topics import TopicSettings
from streamproof.core.transactional_id import ProducerIdentity
from streamproof.records import Record, TopicPartition
from tests.unit.core.conftest import ONE, ZERO

# -- offsets (KIP-447) ----------------------------------------------------------------------------


def test_offsets_are_stored_by_the_commit_and_unstable_until_then(cluster):
    identity = cluster.init()
    cluster.hold(identity, {ZERO: 5})
    assert cluster.transactions.describe("x").groups == {"g"}
    assert (cluster.progress(), cluster.groups.is_unstable("g", ZERO)) == (None, True)
    assert not cluster.groups.is_unstable("g", ONE)
    assert not cluster.groups.is_unstable("other", ZERO)
    cluster.end(identity)
    assert (cluster.progress(), cluster.groups.is_unstable("g", ZERO)) == (5, False)


def test_aborted_offsets_are_gone(either):
    identity = either.init()
    either.transactions.add_offsets("x", identity, "g", either.now)
    either.hold(identity, {ZERO: 5})
    either.end(identity, is_commit=False)
    assert (either.progress(), either.groups.is_unstable("g", ZERO)) == (None, False)
    assert either.groups.names() == []


def test_in_version_1_offsets_are_taken_for_a_group_that_was_added(old):
    identity = old.init()
    with pytest.raises(NotInTransaction, match="group 'g'"):
        old.hold(identity, {ZERO: 5})
    old.transactions.add_offsets("x", identity, "g", old.now)
    old.hold(identity, {ZERO: 5})
    old.end(identity)
    assert old.progress() == 5


def test_of_mixed_commits_the_one_that_was_made_last_stands(cluster):
    first, second = cluster.init("x"), cluster.init("y")
    cluster.hold(first, {ZERO: 1, ONE: 1}, name="x")
    cluster.hold(second, {ZERO: 2}, name="y")
    cluster.groups.commit("g", None, 0, {ONE: CommittedOffset(3)}, 0)
    cluster.end(second, name="y")
    assert cluster.progress() == 2
    assert cluster.groups.is_unstable("g", ZERO)
    cluster.end(first, name="x")
    assert (cluster.progress(ZERO), cluster.progress(ONE)) == (2, 3)
    cluster.hold(ProducerIdentity(100, 1), {ZERO: 1}, name="x")
    cluster.end(ProducerIdentity(100, 1), name="x")
    assert cluster.progress() == 1, "a group may be set back"


def test_a_member_is_fenced_when_it_lost_the_log(cluster):
    identity = cluster.init()
    group = cluster.join("a")
    cluster.hold(identity, {ZERO: 1, ONE: 1}, ("a", 1))
    group.join("b", Subscription(frozenset({"t"})), Timeouts(None, None), 0)
    seen = group.heartbeat("a", frozenset({ZERO, ONE}), 0)
    (lost,) = seen.revoking
    group.heartbeat("a", seen.partitions, 0)
    group.heartbeat("b", frozenset(), 0)
    with pytest.raises(NotHeld):
        cluster.hold(identity, {lost: 2}, ("a", 2))
    cluster.hold(identity, {lost: 2}, ("b", 2))
    with pytest.raises(StaleEpoch):
        cluster.hold(identity, {lost: 3}, ("b", 1))
    with pytest.raises(UnknownMember):
        cluster.hold(identity, {lost: 3}, ("c", 2))
    cluster.end(identity)
    assert cluster.progress(lost) == 2


def test_a_refused_member_stores_nothing_also_of_what_it_holds(cluster):
    identity = cluster.init()
    cluster.join("a")
    with pytest.raises(NotHeld):
        cluster.hold(identity, {ZERO: 1, TopicPartition("t", 7): 1}, ("a", 1))
    cluster.end(identity)
    assert cluster.progress() is None


def test_clients_that_know_no_membership_are_not_fenced(cluster):
    cluster.join("a")
    identity = cluster.init()
    cluster.hold(identity, {ZERO: 1})
    with pytest.raises(UnknownMember):
        cluster.hold(identity, {ZERO: 2}, ("z", -1))
    cluster.hold(identity, {ZERO: 3}, ("z", -1), group="empty")
    cluster.end(identity)
    assert (cluster.progress(), cluster.progress(group="empty")) == (1, 3)


def test_a_generation_of_a_group_without_members_is_refused(cluster):
    identity = cluster.init()
    with pytest.raises(StaleEpoch, match="there is no group 'g'"):
        cluster.hold(identity, {ZERO: 1}, ("a", 1))
    cluster.hold(identity, {ZERO: 1})
    with pytest.raises(UnknownMember):
        cluster.hold(identity, {ZERO: 2}, ("a", 1))


def test_offsets_of_an_open_transaction_keep_a_group_from_being_forgotten(cluster):
    identity = cluster.init()
    cluster.groups.commit("g", None, 0, {ONE: CommittedOffset(3)}, 0)
    cluster.hold(identity, {ZERO: 1})
    cluster.passed_s = 8 * 24 * 3600
    cluster.groups.expire(cluster.now.ns)
    assert cluster.progress(ONE) == 3
    cluster.end(identity)
    cluster.groups.expire(cluster.now.ns)
    assert (cluster.progress(ZERO), cluster.progress(ONE)) == (1, 3), "its time begins with the commit"
    cluster.passed_s *= 2
    cluster.groups.expire(cluster.now.ns)
    assert cluster.progress() is None


# -- things that go while a transaction is open -----------------------------------------------------


def test_a_group_can_be_deleted_in_the_middle_of_a_transaction(cluster):
    identity = cluster.init()
    cluster.hold(identity, {ZERO: 1})
    cluster.groups.delete("g")
    assert not cluster.groups.is_unstable("g", ZERO)
    cluster.end(identity)
    assert cluster.progress() is None
    with pytest.raises(UnknownGroup):
        cluster.groups.delete("g")


def test_a_group_with_members_is_not_deleted(cluster):
    group = cluster.join("a")
    with pytest.raises(GroupNotEmpty):
        cluster.groups.delete("g")
    group.leave("a")
    cluster.groups.commit("g", None, 0, {ONE: CommittedOffset(3)}, 0)
    cluster.groups.delete("g")
    assert cluster.progress(ONE) is None


def test_a_topic_can_be_deleted_in_the_middle_of_a_transaction(either):
    either.topics.create("other", 2, TopicSettings(1))
    identity = either.init()
    either.add(identity, ZERO, TopicPartition("other", 0))
    either.transactions.add_offsets("x", identity, "g", either.now)
    either.send(identity)
    either.hold(identity, {TopicPartition("other", 0): 4, ZERO: 1})
    either.topics.delete("other")
    either.groups.topics_changed(either.topics.partition_counts(), {"other"})
    either.end(identity)
    assert (either.seen(), either.progress()) == ([0], 1)
    assert either.progress(TopicPartition("other", 0)) is None


def test_a_topic_that_came_back_smaller_is_no_obstacle(cluster):
    identity = cluster.init()
    cluster.send(identity, ONE)
    cluster.topics.delete("t")
    cluster.topics.create("t", 2, TopicSettings(1))
    following = cluster.end(identity)
    assert cluster.send(following) == 0


def test_trimming_below_an_open_transaction_moves_what_is_stable(cluster):
    identity = cluster.init()
    cluster.send(identity, records=4)
    log = cluster.topics.log(ZERO)
    log.trim(2)
    assert log.last_stable_offset == 2
    cluster.end(identity, is_commit=False)
    assert (log.read(2, 10)[0], log.last_stable_offset) == ([], 5)
    assert log.aborted_between(2, 5) == [(100, 0, 4, 5)]
    log.trim(5)
    assert log.aborted == []


def test_a_log_whose_producer_id_was_misused_does_not_stop_the_end(cluster):
    identity = cluster.init()
    cluster.add(identity, ZERO, ONE)
    cluster.send(identity, ONE)
    log = cluster.topics.log(ZERO)
    stamp = ProducerStamp(identity.producer_id, 9, 0)
    assert log.admit(stamp, 1) is None
    log.append([Record("t", 0, 0, None, b"")], 10, 0, stamp)
    cluster.end(identity)
    assert (cluster.stable(ZERO), cluster.seen(ONE)) == (1, [0])
