"""What faults do to the transactions of an in-memory cluster: each request lost, before and after it was
applied, in both colours and both versions of the protocol."""

import pytest

from streamproof.deliveries import Outcome
from streamproof.errors import (
    DeliveryUnknown,
    Fenced,
    NotAssigned,
    TransactionAborted,
    TransactionUnknown,
    Unreachable,
)
from streamproof.records import GroupMembership, Outgoing, TopicPartition

LOG = TopicPartition("in", 0)
NOBODY = GroupMembership("g", "", -1)


@pytest.fixture
def world(make_transacting):
    return make_transacting()


@pytest.fixture(params=[1, 2])
def either(make_transacting, request):
    """A cluster of either version of the protocol."""
    return make_transacting(transaction_version=request.param)


# -- faults -------------------------------------------------------------------------------------


def test_a_send_that_was_rejected_dooms_the_transaction(either):
    producer = either.producer()
    producer.begin_transaction()
    rule = either.cluster.faults.reject("produce", Unreachable, skip=1)
    outcomes = [delivery.outcome for delivery in either.send(producer, b"1", b"2")]
    assert (outcomes, rule.hits) == ([Outcome.ACKNOWLEDGED, Outcome.FAILED], 1)
    with pytest.raises(TransactionAborted, match="rejected on purpose"):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert either.seen() == []


def test_one_rejected_log_of_a_batch_dooms_the_transaction(either):
    producer = either.producer()
    producer.begin_transaction()
    either.cluster.faults.reject("produce", Unreachable, matches=lambda request: request.partition == 1)
    sent = producer.send_many("out", [Outgoing(b"value", partition=at) for at in (0, 1, 0)], 1)
    assert [delivery.outcome for delivery in sent] == [
        Outcome.ACKNOWLEDGED,
        Outcome.FAILED,
        Outcome.ACKNOWLEDGED,
    ]
    with pytest.raises(TransactionAborted, match="rejected on purpose"):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert either.seen() == []


def test_a_send_whose_answer_was_lost_is_unknown_and_dooms_the_transaction(either):
    producer = either.producer()
    producer.begin_transaction()
    either.cluster.faults.lose_answer("produce")
    (delivery,) = either.send(producer, b"1")
    assert isinstance(delivery.error, DeliveryUnknown)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    producer.begin_transaction()
    either.send(producer, b"2")
    producer.commit_transaction(1)
    assert (either.seen(), either.seen("read_uncommitted")) == ([b"2"], [b"1", b"2"])


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_log_that_could_not_be_added_was_not_sent_to(either, is_applied):
    producer = either.producer()
    faults = either.cluster.faults
    producer.begin_transaction()
    rule = faults.lose_answer("add") if is_applied else faults.reject("add", Unreachable)
    (delivery,) = either.send(producer, b"1")
    assert (delivery.outcome, rule.hits) == (Outcome.FAILED, 1)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert either.seen("read_uncommitted") == []
    assert either.cluster.topics.log(TopicPartition("out", 0)).end_offset == int(is_applied)
    producer.begin_transaction()
    either.send(producer, b"2")
    producer.commit_transaction(1)
    assert either.seen() == [b"2"]


@pytest.mark.parametrize("is_applied", [True, False])
def test_progress_that_was_not_heard_to_be_stored_dooms_the_transaction(either, is_applied):
    producer = either.producer()
    faults = either.cluster.faults
    producer.begin_transaction()
    either.send(producer, b"1")
    if is_applied:
        faults.lose_answer("offsets", matches=lambda request: request.group == "g")
    else:
        faults.reject("offsets", Unreachable, matches=lambda request: request.group == "g")
    for _ in range(2):
        with pytest.raises(TransactionAborted):
            producer.commit_offsets({LOG: 3}, NOBODY, 1)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert (either.committed(), either.seen()) == (None, [])


def test_a_commit_whose_answer_was_lost_is_unknown_until_it_is_initialised_anew(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"1")
    producer.commit_offsets({LOG: 3}, NOBODY, 1)
    either.cluster.faults.lose_answer("end")
    with pytest.raises(TransactionUnknown):
        producer.commit_transaction(1)
    producer.init_transactions(1)
    assert (either.committed(), either.seen()) == (3, [b"1"])
    producer.begin_transaction()
    either.send(producer, b"2")
    producer.commit_transaction(1)
    assert either.seen() == [b"1", b"2"]


def test_a_commit_that_never_arrived_is_aborted(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"1")
    producer.commit_offsets({LOG: 3}, NOBODY, 1)
    either.cluster.faults.reject("end", Unreachable)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert (either.committed(), either.seen()) == (None, [])


@pytest.mark.parametrize("is_applied", [True, False])
def test_an_abort_that_was_not_heard_is_finished_by_initialising_anew(either, is_applied):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"1")
    faults = either.cluster.faults
    if is_applied:
        faults.lose_answer("end")
        error = TransactionUnknown
    else:
        faults.reject("end", Unreachable)
        error = Unreachable
    with pytest.raises(error):
        producer.abort_transaction(1)
    assert either.state() == ("CompleteAbort" if is_applied else "Ongoing")
    producer.init_transactions(1)
    producer.begin_transaction()
    either.send(producer, b"2")
    producer.commit_transaction(1)
    assert either.seen() == [b"2"]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("is_applied", [True, False])
def test_an_initialisation_that_was_not_heard_can_be_repeated(either, is_applied, is_first):
    producer = either.raw_producer() if is_first else either.producer()
    faults = either.cluster.faults
    if is_applied:
        faults.lose_answer("init")
        error = TransactionUnknown
    else:
        faults.reject("init", Unreachable)
        error = Unreachable
    with pytest.raises(error):
        producer.init_transactions(1)
    producer.init_transactions(1)
    producer.begin_transaction()
    either.send(producer, b"1")
    producer.commit_transaction(1)
    assert either.seen() == [b"1"]


def test_initialising_anew_after_another_took_over_is_refused(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"1")
    either.cluster.faults.lose_answer("end")
    with pytest.raises(TransactionUnknown):
        producer.commit_transaction(1)
    either.producer()
    with pytest.raises(Fenced):
        producer.init_transactions(1)


def test_closing_while_the_cluster_is_cut_off_leaves_it_to_the_timeout(world):
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"1")
    world.cluster.faults.cut()
    producer.close(1)
    world.cluster.faults.heal()
    assert world.state() == "Ongoing"
    world.clock.advance(5)
    assert world.seen() == []
    assert world.state() == "CompleteAbort"


def test_a_member_that_lost_its_logs_is_told_so_and_the_transaction_is_doomed(either):
    consumer = either.consumer(session_timeout_s=1.0)
    producer = either.producer()
    producer.begin_transaction()
    member = consumer.membership()
    either.send(producer, b"1")
    consumer.crash()
    either.clock.advance(1)
    successor = either.consumer()
    with pytest.raises(NotAssigned):
        producer.commit_offsets({LOG: 1}, member, 1)
    with pytest.raises(NotAssigned):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    producer.begin_transaction()
    producer.commit_offsets({LOG: 1}, successor.membership(), 1)
    producer.commit_transaction(1)
    assert (either.committed(), either.seen()) == (1, [])
