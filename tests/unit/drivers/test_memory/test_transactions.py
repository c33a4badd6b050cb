"""Transactions of an in-memory cluster, verb by verb, in both colours; and what faults do to them."""

import asyncio
import inspect

import pytest

from streamproof.deliveries import Outcome
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.settings import MemorySettings
from streamproof.errors import (
    Closed,
    ConfigurationError,
    DeliveryUnknown,
    Fenced,
    NotAssigned,
    RecordTooLarge,
    TransactionAborted,
    TransactionUnknown,
    UnknownTopic,
    Unreachable,
    UsageError,
)
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import GroupMembership, Outgoing, TopicPartition, TopicSpec

LOG = TopicPartition("in", 0)
NOBODY = GroupMembership("g", "", -1)


class OnLoop:
    """An async client, driven call by call."""

    def __init__(self, client, run):
        self._client, self._run = client, run

    def __getattr__(self, name):
        found = getattr(self._client, name)

        def call(*arguments):
            made = found(*arguments)
            return self._run(made) if inspect.isawaitable(made) else made

        return call


class World:
    """A cluster, and clients of one colour."""

    def __init__(self, colour, clock, make_ear, run, **settings):
        self.cluster = MemoryCluster("test", clock=clock, settings=MemorySettings(**settings))
        self.clock = clock
        self.make_ear = make_ear
        self.driver = self.cluster.driver()
        if colour == "async":
            self.driver = OnLoop(self.cluster.async_driver(), run)
            self.wrap = lambda client: OnLoop(client, run)
        else:
            self.wrap = lambda client: client
        self.cluster.create_topics([TopicSpec("in", 1), TopicSpec("out", 2)])

    def producer(self, name="x", **options):
        """Initialised."""
        producer = self.raw_producer(name, **options)
        producer.init_transactions(1)
        return producer

    def raw_producer(self, name="x", **options):
        return self.wrap(self.driver.producer(ProducerOptions(transactional_id=name, **options)))

    def consumer(self, group="g", topic="in", **options):
        """Started, and told its logs."""
        chosen = ConsumerOptions(topics=(topic,), group=group, **options)
        consumer = self.wrap(self.driver.consumer(chosen))
        consumer.ear = self.make_ear()
        consumer.start(consumer.ear, 1)
        consumer.poll(1, 0)
        return consumer

    def send(self, producer, *values, topic="out", partition=0):
        return [producer.send(topic, value, None, (), partition, None, 1) for value in values]

    def seen(self, isolation="read_committed", topic="out"):
        consumer = self.wrap(self.driver.consumer(ConsumerOptions(topics=(topic,), isolation=isolation)))
        consumer.start(self.make_ear(), 1)
        try:
            return [record.value for record in consumer.poll(1000, 0)]
        finally:
            consumer.close(1)

    def committed(self, group="g"):
        with self.cluster.lock:
            found = self.cluster.groups.committed(group, LOG)
        return None if found is None else found.offset

    def state(self, name="x"):
        return self.cluster.transactions.describe(name).state


@pytest.fixture(params=["sync", "async"])
def make_world(request, clock, make_ear, make_async_ear):
    ear = make_ear if request.param == "sync" else make_async_ear
    with asyncio.Runner() as runner:

        async def awaited(made):
            return await made

        yield lambda **settings: World(
            request.param, clock, ear, lambda made: runner.run(awaited(made)), **settings
        )


@pytest.fixture
def world(make_world):
    return make_world()


@pytest.fixture(params=[1, 2])
def either(make_world, request):
    """A cluster of either version of the protocol."""
    return make_world(transaction_version=request.param)


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


def test_a_transaction_open_for_too_long_fences_in_version_1(make_world):
    world = make_world(transaction_version=1)
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
