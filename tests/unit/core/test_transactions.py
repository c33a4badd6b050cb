"""The coordinator, rule by rule. That each of these answers is Kafka's is shown by asking both the
same (``tests/real/test_engine_like_kafka.py``); here each rule stands alone."""

import pytest

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
from streamproof.core.transactional_id import LAST_EPOCH, ProducerIdentity
from streamproof.core.transactions import MAX_TIMEOUT_MS
from streamproof.errors import ConfigurationError, UnknownTopic
from streamproof.records import TopicPartition
from tests.unit.core.conftest import ONE, SECOND, ZERO

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
