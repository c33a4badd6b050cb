"""Transactions of an in-memory cluster, verb by verb, in both colours; and what faults do to them."""

import pytest

from streamproof.drivers.memory.settings import MemorySettings
from streamproof.errors import (
    Closed,
    ConfigurationError,
    Fenced,
    RecordTooLarge,
    TransactionAborted,
    UnknownTopic,
    UsageError,
)
from streamproof.options import ProducerOptions
from streamproof.records import GroupMembership, Outgoing, TopicPartition, TopicSpec

LOG = TopicPartition("in", 0)
NOBODY = GroupMembership("g", "", -1)


@pytest.fixture
def world(make_transacting):
    return make_transacting()


@pytest.fixture(params=[1, 2])
def either(make_transacting, request):
    """A cluster of either version of the protocol."""
    return make_transacting(transaction_version=request.param)


# -- in order -----------------------------------------------------------------------------------


def test_committed_records_are_seen_together(either):
    producer = either.producer()
    producer.begin_transaction()
    sent = either.send(producer, b"1", b"2") + either.send(producer, b"3", partition=1)
    assert [delivery.receipt.offset for delivery in sent] == [0, 1, 0]
    assert either.seen() == []
    assert sorted(either.seen("read_uncommitted")) == [b"1", b"2", b"3"]
    producer.commit_transaction(1)
    assert sorted(either.seen()) == [b"1", b"2", b"3"]


def test_aborted_records_are_not_seen_and_leave_a_gap(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"no")
    producer.abort_transaction(1)
    producer.begin_transaction()
    (sent,) = either.send(producer, b"yes")
    producer.commit_transaction(1)
    assert sent.receipt.offset == 2
    assert (either.seen(), either.seen("read_uncommitted")) == ([b"yes"], [b"no", b"yes"])


def test_batches_and_single_records_share_a_transaction(either):
    producer = either.producer()
    for _ in range(3):
        producer.begin_transaction()
        either.send(producer, b"one")
        many = producer.send_many("out", [Outgoing(b"many", partition=at) for at in (0, 1, 0)], 1)
        assert not many.errors
        either.send(producer, b"one", partition=1)
        producer.commit_transaction(1)
    assert len(either.seen()) == 15


def test_a_transaction_in_which_nothing_happened_leaves_no_trace(world):
    producer = world.producer()
    for end in (producer.commit_transaction, producer.abort_transaction) * 2:
        producer.begin_transaction()
        end(1)
    assert world.state() == "Empty"
    assert [log.end_offset for log in world.cluster.topics.topic("out").logs] == [0, 0]


def test_progress_is_stored_with_the_transaction(either):
    consumer = either.consumer()
    producer = either.producer()
    producer.begin_transaction()
    producer.commit_offsets({LOG: 5}, consumer.membership(), 1)
    assert either.committed() is None
    producer.commit_transaction(1)
    assert either.committed() == 5
    producer.begin_transaction()
    producer.commit_offsets({LOG: 9}, consumer.membership(), 1)
    producer.abort_transaction(1)
    assert either.committed() == 5


def test_verbs_out_of_order_are_errors_of_the_program(world):
    producer = world.raw_producer()
    with pytest.raises(UsageError, match="init_transactions"):
        producer.begin_transaction()
    producer.init_transactions(1)
    with pytest.raises(UsageError, match="no transaction of 'x' is open"):
        producer.commit_transaction(1)
    (delivery,) = world.send(producer, b"outside")
    assert isinstance(delivery.error, UsageError)
    producer.begin_transaction()
    with pytest.raises(UsageError, match="is open already"):
        producer.begin_transaction()
    producer.commit_transaction(1)
    assert world.seen("read_uncommitted") == []


def test_a_consumer_without_a_group_has_no_membership(world):
    consumer = world.consumer(group=None)
    with pytest.raises(UsageError, match="name a group"):
        consumer.membership()


def test_a_timeout_that_cannot_be_is_refused(world):
    with pytest.raises(ConfigurationError, match="900000"):
        world.producer(transaction_timeout_s=1000.0)


@pytest.mark.parametrize("version", ["0", "3", "two"])
def test_only_two_versions_of_the_protocol_are_known(version):
    with pytest.raises(ConfigurationError, match="transaction_version"):
        MemorySettings.from_options({"transaction_version": version})


def test_the_version_of_the_protocol_can_be_named_in_the_url():
    assert MemorySettings.from_options({"transaction_version": "1"}).transaction_version == 1


# -- zombies and timeouts -----------------------------------------------------------------------


def test_a_newer_producer_fences_the_older_one_for_good(either):
    old = either.producer()
    old.begin_transaction()
    either.send(old, b"zombie")
    new = either.producer()
    (late,) = either.send(old, b"late")
    assert isinstance(late.error, Fenced)
    for verb in (old.commit_transaction, old.abort_transaction, old.init_transactions):
        with pytest.raises(Fenced):
            verb(1)
    with pytest.raises(Fenced):
        old.begin_transaction()
    with pytest.raises(Fenced):
        old.commit_offsets({LOG: 1}, NOBODY, 1)
    new.begin_transaction()
    either.send(new, b"new")
    new.commit_transaction(1)
    assert either.seen() == [b"new"]


@pytest.mark.parametrize("verb", ["commit", "abort", "offsets", "init"])
def test_whatever_the_older_one_does_first_tells_it(either, verb):
    old = either.producer()
    old.begin_transaction()
    either.send(old, b"zombie")
    either.producer()
    with pytest.raises(Fenced):
        {
            "commit": lambda: old.commit_transaction(1),
            "abort": lambda: old.abort_transaction(1),
            "offsets": lambda: old.commit_offsets({LOG: 1}, NOBODY, 1),
            "init": lambda: old.init_transactions(1),
        }[verb]()
    assert either.seen() == []
    old.close(1)


def test_the_older_one_does_not_take_the_id_back(either):
    old = either.producer()
    new = either.producer()
    with pytest.raises(Fenced):
        old.init_transactions(1)
    with pytest.raises(Fenced):
        old.begin_transaction()
    new.begin_transaction()
    either.send(new, b"new")
    new.commit_transaction(1)
    assert either.seen() == [b"new"]


def test_the_first_send_of_the_older_one_tells_it(either):
    old = either.producer()
    either.producer()
    old.begin_transaction()
    (late,) = either.send(old, b"late")
    assert isinstance(late.error, Fenced)
    with pytest.raises(Fenced):
        old.commit_transaction(1)


def test_a_transaction_open_for_too_long_is_aborted_and_can_be_done_again(world):
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"slow")
    world.clock.advance(5)
    with pytest.raises(TransactionAborted, match="longer than its timeout of 5000 ms"):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    producer.begin_transaction()
    world.send(producer, b"again")
    producer.commit_transaction(1)
    assert world.seen() == [b"again"]


def test_a_send_after_the_timeout_is_refused_and_dooms(world):
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"slow")
    world.clock.advance(5)
    assert world.seen() == []
    (late,) = world.send(producer, b"late")
    assert isinstance(late.error, TransactionAborted)
    with pytest.raises(TransactionAborted):
        producer.commit_transaction(1)
    producer.abort_transaction(1)
    assert world.seen("read_uncommitted") == [b"slow"]


def test_progress_after_the_timeout_is_refused(world):
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"slow")
    world.clock.advance(5)
    with pytest.raises(TransactionAborted, match="longer than its timeout of 5000 ms"):
        producer.commit_offsets({LOG: 1}, NOBODY, 1)
    producer.abort_transaction(1)
    assert (world.committed(), world.seen()) == (None, [])


def test_a_transaction_open_for_too_long_fences_in_version_1(make_transacting):
    world = make_transacting(transaction_version=1)
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"slow")
    world.clock.advance(5)
    with pytest.raises(Fenced, match="longer than its timeout of 5000 ms"):
        producer.commit_transaction(1)
    with pytest.raises(Fenced):
        producer.init_transactions(1)


def test_a_reader_that_waits_for_a_hanging_transaction_sees_what_lies_behind_it(world):
    producer = world.producer(transaction_timeout_s=5.0)
    producer.begin_transaction()
    world.send(producer, b"hangs")
    producer.crash()
    with world.cluster.lock:
        assert world.cluster.transactions.next_deadline_ns is not None
    plain = world.wrap(world.driver.producer(ProducerOptions()))
    world.send(plain, b"behind")
    assert world.seen() == []
    world.clock.advance(5)
    assert world.seen() == [b"behind"]


def test_what_a_crashed_producer_left_open_is_aborted_by_its_successor(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"lost")
    producer.crash()
    assert either.state() == "Ongoing"
    either.producer()
    assert either.state() == "Empty"
    assert (either.seen(), either.seen("read_uncommitted")) == ([], [b"lost"])


def test_closing_aborts_what_is_open(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"open")
    producer.close(1)
    producer.close(1)
    assert either.state() == "CompleteAbort"
    assert either.seen() == []
    for verb in (producer.commit_transaction, producer.abort_transaction, producer.init_transactions):
        with pytest.raises(Closed):
            verb(1)


def test_closing_the_driver_aborts_and_crashing_it_does_not(world):
    for end, state in (("close", "CompleteAbort"), ("crash", "Ongoing")):
        world.driver = world.cluster.driver()
        world.wrap = lambda client: client
        producer = world.producer(end)
        producer.begin_transaction()
        world.send(producer, b"open")
        getattr(world.driver, end)(*(1,) if end == "close" else ())
        assert world.state(end) == state


# -- failed sends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "value", "partition", "error"),
    [
        ("nowhere", b"value", 0, UnknownTopic),
        ("out", b"value", 7, UnknownTopic),
        ("out", bytes(2_000_000), 0, RecordTooLarge),
    ],
)
@pytest.mark.parametrize("is_batch", [True, False])
def test_a_record_that_cannot_be_stored_dooms_the_transaction(
    either, topic, value, partition, error, is_batch
):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"good")
    if is_batch:
        (found,) = producer.send_many(topic, [Outgoing(value, partition=partition)], 1).errors
    else:
        (found,) = (
            delivery.error for delivery in either.send(producer, value, topic=topic, partition=partition)
        )
    assert isinstance(found, error)
    with pytest.raises(TransactionAborted, match="the transaction cannot commit"):
        producer.commit_transaction(1)
    (after,) = either.send(producer, b"after")
    assert isinstance(after.error, TransactionAborted)
    producer.abort_transaction(1)
    producer.begin_transaction()
    either.send(producer, b"next")
    producer.commit_transaction(1)
    assert either.seen() == [b"next"]


def test_a_topic_may_go_and_come_back_in_between(either):
    producer = either.producer()
    producer.begin_transaction()
    either.send(producer, b"old")
    either.cluster.delete_topics(["out"])
    either.cluster.create_topics([TopicSpec("out", 2)])
    either.send(producer, b"new")
    producer.commit_transaction(1)
    assert either.seen() == [b"new"]


# -- forgetting ---------------------------------------------------------------------------------


def test_producers_that_wrote_nothing_for_long_are_forgotten(world):
    producer = world.producer("once")
    producer.begin_transaction()
    world.send(producer, b"1")
    producer.commit_transaction(1)
    log = world.cluster.topics.log(TopicPartition("out", 0))
    world.clock.advance(24 * 3600 - 1)
    world.producer("other")
    assert len(log.producers) == 1
    world.clock.advance(1)
    world.producer("other")
    assert len(log.producers) == 1, "nobody looks more often than every ten minutes"
    world.clock.advance(600)
    world.producer("other")
    assert len(log.producers) == 0
    producer.begin_transaction()
    world.send(producer, b"2")
    producer.commit_transaction(1)
    assert world.seen() == [b"1", b"2"]
    world.clock.advance(8 * 24 * 3600)
    world.producer("other")
    assert [found.transactional_id for found in world.cluster.transactions.descriptions()] == ["other"]
