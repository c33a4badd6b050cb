"""The coordinator, rule by rule. That each of these answers is Kafka's is shown by asking both the
same (``tests/real/test_engine_like_kafka.py``); here each rule stands alone."""

from itertools import count

import pytest

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupCoordinator, GroupNotEmpty, UnknownGroup
from streamproof.core.groups import NotHeld, StaleEpoch, Subscription, Timeouts, UnknownMember
from streamproof.core.offsets import CommittedOffset
from streamproof.core.producer_errors import (
    InvalidProducerEpoch,
    InvalidTransactionState,
    InvalidTransactionTimeout,
    NotInTransaction,
    OutOfOrderSequence,
    ProducerFenced,
    TransactionTimedOut,
    UnknownProducerId,
    UnknownTransactionalId,
)
from streamproof.core.topics import Topics, TopicSettings
from streamproof.core.transactional_id import LAST_EPOCH, Moment, ProducerIdentity
from streamproof.core.transactions import MAX_TIMEOUT_MS, TransactionCoordinator
from streamproof.errors import ConfigurationError, UnknownTopic
from streamproof.records import Record, TopicPartition

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)
SECOND = 1_000_000_000


class Cluster:
    """Logs, groups and a coordinator, with a clock to turn by hand."""

    def __init__(self, version=2):
        self.topics = Topics()
        self.groups = GroupCoordinator()
        self.topics.create("t", 1, TopicSettings(2))
        self.groups.topics_changed(self.topics.partition_counts())
        self.transactions = TransactionCoordinator(
            self.topics, self.groups, count(100).__next__, version=version
        )
        self.version = version
        self.passed_s = 0

    @property
    def now(self):
        return Moment(1_700_000_000_000 + self.passed_s * 1000, self.passed_s * SECOND)

    def init(self, name="x", expected=None, timeout_ms=10_000):
        return self.transactions.init_producer_id(name, timeout_ms, self.now, expected)

    def add(self, identity, *partitions, name="x"):
        self.transactions.add_partitions(name, identity, partitions, self.now)

    def send(self, identity, partition=ZERO, sequence=0, records=1, name="x", version=None):
        log = self.topics.log(partition)
        stamp = ProducerStamp(*identity, sequence, True)
        found = self.transactions.admit(name, log, stamp, records, self.now, version or self.version)
        if found is not None:
            return found
        first = log.end_offset
        made = [Record("t", partition.partition, first + index, None, b"") for index in range(records)]
        log.append(made, 10, 0, stamp)
        return first

    def end(self, identity, is_commit=True, name="x", version=None):
        return self.transactions.end_transaction(name, identity, is_commit, self.now, version or self.version)

    def hold(self, identity, offsets, member=("", -1), name="x", version=None, group="g"):
        given = {log: CommittedOffset(offset) for log, offset in offsets.items()}
        self.transactions.commit_offsets(
            name, identity, group, *member, given, self.now, version or self.version
        )

    def join(self, member, group="g"):
        found, _ = self.groups.join(
            group, member, Subscription(frozenset({"t"})), Timeouts(None, None), self.now.ns
        )
        found.heartbeat(member, frozenset(), self.now.ns)
        return found

    def seen(self, partition=ZERO, is_committed=True):
        records, _ = self.topics.log(partition).read(0, 100, is_committed)
        return [record.offset for record in records]

    def stable(self, partition=ZERO):
        return self.topics.log(partition).last_stable_offset

    def progress(self, partition=ZERO, group="g"):
        found = self.groups.committed(group, partition)
        return None if found is None else found.offset

    def state(self, name="x"):
        return self.transactions.describe(name).state


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def old():
    """A cluster of the protocol's first version."""
    return Cluster(version=1)


@pytest.fixture(params=[1, 2])
def either(request):
    return Cluster(version=request.param)


# -- identities (KIP-98, KIP-360) -----------------------------------------------------------------


def test_a_producer_without_a_transactional_id_gets_a_new_id_each_time(cluster):
    assert [cluster.init(None), cluster.init(None)] == [(100, 0), (101, 0)]


def test_each_initialisation_raises_the_epoch_of_the_same_producer_id(cluster):
    assert [cluster.init(), cluster.init(), cluster.init("y")] == [(100, 0), (100, 1), (101, 0)]


@pytest.mark.parametrize("timeout_ms", [0, -1, MAX_TIMEOUT_MS + 1])
def test_a_timeout_that_cannot_be_is_refused(cluster, timeout_ms):
    with pytest.raises(InvalidTransactionTimeout, match="900000"):
        cluster.init(timeout_ms=timeout_ms)


def test_an_empty_transactional_id_is_refused(cluster):
    with pytest.raises(ConfigurationError):
        cluster.init("")


def test_a_producer_that_goes_on_is_told_the_same_again_if_it_asks_again(cluster):
    first = cluster.init()
    second = cluster.init(expected=first)
    assert second == (100, 1)
    assert cluster.init(expected=first) == second
    assert cluster.init(expected=second) == (100, 2)


def test_a_producer_that_goes_on_is_refused_if_another_came_in_between(cluster):
    first = cluster.init()
    cluster.init()
    with pytest.raises(ProducerFenced, match="each instance needs a transactional id of its own"):
        cluster.init(expected=first)
    with pytest.raises(ProducerFenced):
        cluster.init(expected=ProducerIdentity(99, 1))


def test_a_transactional_id_that_was_forgotten_takes_back_who_had_it(cluster):
    former = ProducerIdentity(55, 7)
    assert cluster.init(expected=former) == (100, 0)


def test_epochs_that_are_used_up_are_followed_by_a_new_producer_id(cluster):
    identity = cluster.init()
    for _ in range(LAST_EPOCH - 1):
        identity = cluster.init()
    assert identity == (100, LAST_EPOCH - 1)
    following = cluster.init(expected=identity)
    assert following == (101, 0)
    assert cluster.init(expected=identity) == following, "the same call once more"
    with pytest.raises(ProducerFenced):
        cluster.init(expected=ProducerIdentity(100, 5))


def test_a_transaction_with_the_last_epoch_ends_in_a_new_producer_id(cluster):
    identity = cluster.init()
    for _ in range(LAST_EPOCH - 1):
        identity = cluster.init()
    cluster.send(identity)
    following = cluster.end(identity)
    assert following == (101, 0)
    assert cluster.end(identity) == following, "the same end once more"
    assert cluster.topics.log(ZERO).producers.find(100).epoch == LAST_EPOCH
    assert cluster.send(following) == 2
    with pytest.raises(InvalidProducerEpoch):
        cluster.send(identity)
    with pytest.raises(UnknownProducerId):
        cluster.add(identity, ZERO)
    with pytest.raises(UnknownProducerId):
        cluster.end(ProducerIdentity(100, 5))


def test_what_was_open_with_the_last_epoch_can_still_be_fenced(either):
    identity = either.init()
    for _ in range(LAST_EPOCH - 1):
        identity = either.init()
    either.add(identity, ZERO)
    either.send(identity)
    assert either.init() == (101, 0)
    assert either.seen(is_committed=False) == [0]
    assert either.seen() == []
    with pytest.raises(InvalidProducerEpoch):
        either.send(identity, sequence=1)


# -- what a transaction has (KIP-98, KIP-890 part 1) --------------------------------------------


def test_only_the_present_producer_of_the_id_may_add(either):
    former = either.init()
    present = either.init()
    with pytest.raises(ProducerFenced):
        either.add(former, ZERO)
    with pytest.raises(ProducerFenced):
        either.transactions.add_offsets("x", former, "g", either.now)
    with pytest.raises(UnknownProducerId):
        either.add(ProducerIdentity(99, 0), ZERO)
    with pytest.raises(UnknownProducerId):
        either.add(present, ZERO, name="never initialised")
    either.add(present, ZERO)
    assert either.transactions.describe("x").partitions == {ZERO}


def test_logs_that_are_not_there_are_not_added(cluster):
    identity = cluster.init()
    with pytest.raises(UnknownTopic):
        cluster.add(identity, ZERO, TopicPartition("t", 2))
    assert cluster.state() == "Empty"
    assert cluster.transactions.describe("x").partitions == frozenset()


def test_in_version_1_a_log_takes_only_what_was_added(old):
    identity = old.init()
    with pytest.raises(NotInTransaction, match=r"t\[0\] is not part of the transaction of 'x'"):
        old.send(identity)
    old.add(identity, ZERO)
    assert old.send(identity) == 0
    with pytest.raises(NotInTransaction):
        old.send(identity, ONE)
    old.end(identity)
    with pytest.raises(NotInTransaction):
        old.send(identity, sequence=1)
    assert old.seen() == [0]


def test_in_version_2_writing_adds(cluster):
    identity = cluster.init()
    assert cluster.send(identity) == 0
    found = cluster.transactions.describe("x")
    assert (found.state, found.partitions, found.start_ms) == ("Ongoing", {ZERO}, cluster.now.ms)
    with pytest.raises(OutOfOrderSequence):
        cluster.send(identity, ONE, sequence=5)


def test_a_batch_that_came_twice_is_answered_twice_and_stored_once(either):
    identity = either.init()
    either.add(identity, ZERO)
    assert [either.send(identity, records=2), either.send(identity, records=2)] == [0, 0]
    assert either.seen(is_committed=False) == [0, 1]


# -- ends ---------------------------------------------------------------------------------------


def test_records_are_seen_from_the_commit_on(either):
    identity = either.init()
    either.add(identity, ZERO)
    either.send(identity, records=3)
    assert either.seen(is_committed=False) == [0, 1, 2]
    assert (either.seen(), either.stable()) == ([], 0)
    either.end(identity)
    assert (either.seen(), either.stable()) == ([0, 1, 2], 4)
    assert either.state() == "CompleteCommit"


def test_aborted_records_are_never_seen_read_committed(either):
    identity = either.init()
    either.add(identity, ZERO, ONE)
    either.send(identity, records=3)
    either.end(identity, is_commit=False)
    assert (either.seen(), either.seen(is_committed=False), either.stable()) == ([], [0, 1, 2], 4)
    log = either.topics.log(ZERO)
    assert log.aborted_between(0, 4) == [(100, 0, 3, 4)]
    assert either.stable(ONE) == 1, "every log that was added gets a control record"
    assert either.topics.log(ONE).aborted == []


def test_stable_offsets_end_before_the_oldest_open_transaction(cluster):
    first, second = cluster.init("x"), cluster.init("y")
    cluster.send(first, name="x")
    cluster.send(second, name="y")
    cluster.end(second, name="y")
    assert (cluster.stable(), cluster.seen()) == (0, [])
    cluster.end(first, name="x", is_commit=False)
    assert (cluster.stable(), cluster.seen()) == (4, [1])


def test_in_version_1_the_epoch_stays_and_an_end_can_be_repeated(old):
    identity = old.init()
    old.add(identity, ZERO)
    assert [old.end(identity), old.end(identity)] == [identity, identity]
    assert old.stable() == 1, "one control record"
    with pytest.raises(InvalidTransactionState, match="CompleteCommit"):
        old.end(identity, is_commit=False)


def test_in_version_2_each_end_raises_the_epoch_and_can_be_repeated(cluster):
    identity = cluster.init()
    cluster.send(identity)
    following = cluster.end(identity)
    assert following == (100, 1)
    assert cluster.end(identity) == following
    with pytest.raises(InvalidTransactionState):
        cluster.end(identity, is_commit=False)
    cluster.send(following)
    last = cluster.end(following, is_commit=False)
    assert last == (100, 2)
    assert cluster.end(following, is_commit=False) == last
    with pytest.raises(InvalidTransactionState):
        cluster.end(following)
    with pytest.raises(ProducerFenced):
        cluster.end(identity)
    assert cluster.stable() == 4


def test_without_a_transaction_there_is_nothing_to_end_in_version_1(old):
    identity = old.init()
    for is_commit in (True, False):
        with pytest.raises(InvalidTransactionState, match="Empty"):
            old.end(identity, is_commit)


def test_an_abort_that_nothing_came_before_raises_the_epoch_in_version_2(cluster):
    identity = cluster.init()
    with pytest.raises(InvalidTransactionState):
        cluster.end(identity)
    following = cluster.end(identity, is_commit=False)
    assert following == (100, 1)
    assert cluster.end(following, is_commit=False) == (100, 2)
    cluster.send(ProducerIdentity(100, 2))
    assert cluster.end(ProducerIdentity(100, 2)) == (100, 3)
    assert cluster.end(ProducerIdentity(100, 3), is_commit=False) == (100, 4)


def test_what_comes_late_is_refused_in_version_2(cluster):
    identity = cluster.init()
    cluster.send(identity)
    following = cluster.end(identity)
    cluster.send(following)
    with pytest.raises(InvalidProducerEpoch):
        cluster.send(identity, sequence=1)
    with pytest.raises(ProducerFenced):
        cluster.send(identity, ONE)
    with pytest.raises(ProducerFenced):
        cluster.hold(identity, {ZERO: 5})
    assert cluster.transactions.describe("x").partitions == {ZERO}


def test_what_comes_late_ends_up_in_the_next_transaction_in_version_1(old):
    """The defect that KIP-890 describes; version 1 is offered as it was."""
    identity = old.init()
    old.add(identity, ZERO)
    old.end(identity, is_commit=False)
    old.add(identity, ZERO)
    old.send(identity)  # sent before the abort, and delayed
    old.end(identity)
    assert old.seen() == [1]


# -- zombies and timeouts ---------------------------------------------------------------------


def test_a_newer_producer_aborts_what_the_former_one_has_open_and_fences_it(either):
    former = either.init()
    either.add(former, ZERO)
    either.send(former)
    present = either.init()
    assert present == (100, 2)
    assert (either.seen(), either.seen(is_committed=False), either.stable()) == ([], [0], 2)
    for is_commit in (True, False):
        with pytest.raises(ProducerFenced):
            either.end(former, is_commit)
    with pytest.raises(InvalidProducerEpoch):
        either.send(former, sequence=1)
    either.add(present, ZERO)
    assert either.send(present) == 2


def test_a_producer_goes_on_over_a_transaction_of_its_own(cluster):
    identity = cluster.init()
    cluster.send(identity)
    assert cluster.init(expected=identity) == (100, 1)
    assert (cluster.seen(), cluster.stable()) == ([], 2)


def test_a_transaction_that_is_open_for_too_long_is_aborted(either):
    identity = either.init(timeout_ms=5000)
    either.passed_s = 100
    either.add(identity, ZERO)
    either.send(identity)
    either.passed_s = 104
    assert either.transactions.expire(either.now) == []
    either.passed_s = 105
    assert either.transactions.next_deadline_ns == either.now.ns
    assert either.transactions.expire(either.now) == ["x"]
    assert either.transactions.next_deadline_ns is None
    assert (either.state(), either.seen(), either.stable()) == ("CompleteAbort", [], 2)
    assert list(either.topics.log(ZERO).batches(1))[-1].max_timestamp_ms == either.now.ms


def test_after_a_timeout_its_producer_is_fenced_for_good_in_version_1(old):
    identity = old.init()
    old.add(identity, ZERO)
    old.passed_s = 10
    old.transactions.expire(old.now)
    for is_commit in (True, False):
        with pytest.raises(ProducerFenced, match="longer than its timeout of 10000 ms"):
            old.end(identity, is_commit)
    with pytest.raises(ProducerFenced):
        old.add(identity, ONE)
    with pytest.raises(ProducerFenced):
        old.init(expected=identity)


def test_after_a_timeout_its_producer_aborts_and_goes_on_in_version_2(cluster):
    identity = cluster.init()
    cluster.send(identity)
    cluster.passed_s = 10
    cluster.transactions.expire(cluster.now)
    for refused in (
        lambda: cluster.send(identity, sequence=1),
        lambda: cluster.send(identity, ONE),
        lambda: cluster.hold(identity, {ZERO: 1}),
        lambda: cluster.add(identity, ONE),
    ):
        with pytest.raises(TransactionTimedOut, match="longer than its timeout of 10000 ms"):
            refused()
    with pytest.raises(InvalidTransactionState, match="longer than its timeout of 10000 ms"):
        cluster.end(identity)
    following = cluster.end(identity, is_commit=False)
    assert following == (100, 1)
    assert cluster.send(following) == 2
    cluster.end(following)
    assert cluster.seen() == [2]


def test_a_newer_producer_after_a_timeout_is_named_as_the_reason(cluster):
    identity = cluster.init()
    cluster.send(identity)
    cluster.passed_s = 10
    cluster.transactions.expire(cluster.now)
    cluster.init()
    with pytest.raises(ProducerFenced, match="a newer producer"):
        cluster.add(identity, ONE)


def test_each_transaction_has_a_deadline_of_its_own(cluster):
    slow = cluster.init("slow", timeout_ms=9000)
    fast = cluster.init("fast", timeout_ms=1000)
    cluster.send(slow, name="slow")
    cluster.passed_s = 2
    cluster.send(fast, ONE, name="fast")
    assert cluster.transactions.next_deadline_ns == 3 * SECOND
    cluster.passed_s = 3
    assert cluster.transactions.expire(cluster.now) == ["fast"]
    assert cluster.transactions.next_deadline_ns == 9 * SECOND
    cluster.end(slow, name="slow")
    assert cluster.transactions.next_deadline_ns is None


def test_transactional_ids_are_forgotten_when_nobody_used_them_for_long(cluster):
    cluster.init("idle")
    busy = cluster.init("busy")
    cluster.send(busy, name="busy")
    cluster.passed_s = 7 * 24 * 3600 - 1
    cluster.transactions.forget_idle(cluster.now)
    assert [found.transactional_id for found in cluster.transactions.descriptions()] == ["busy", "idle"]
    cluster.passed_s += 1
    cluster.transactions.forget_idle(cluster.now)
    assert [found.transactional_id for found in cluster.transactions.descriptions()] == ["busy"]
    with pytest.raises(UnknownTransactionalId):
        cluster.state("idle")


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
