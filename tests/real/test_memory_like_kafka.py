"""The in-memory driver's transactions against confluent-kafka on a real Kafka: the same steps on both.

Two producers share a transactional id. What each step leads to (done, fenced, to be aborted), the offsets
of the records with the gaps that control records leave, what readers of both isolations see, and the
group's progress have to be the same.
"""

import random
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as Log
from confluent_kafka.admin import AdminClient, NewTopic

from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.settings import MemorySettings
from streamproof.errors import Fenced, NotAssigned, TransactionAborted
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import GroupMembership, TopicPartition, TopicSpec
from tests.real.kafka_wire import Wire

PATIENCE_S = 30
FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class Memory:
    """A cluster in memory, and producers by number."""

    def __init__(self, version):
        self.cluster = MemoryCluster(settings=MemorySettings(transaction_version=version))
        self.cluster.create_topics([TopicSpec("out", 2), TopicSpec("in", 1)])
        self.driver = self.cluster.driver()
        self.producers = {}

    def close(self):
        self.driver.close(1)

    def outcome(self, call, *arguments):
        try:
            call(*arguments)
        except Fenced:
            return "fenced"
        except (TransactionAborted, NotAssigned):
            return "to be aborted"
        return "done"

    def make(self, who):
        self.producers[who] = self.driver.producer(ProducerOptions(transactional_id="id"))
        return self.outcome(self.producers[who].init_transactions, 1)

    def begin(self, who):
        return self.outcome(self.producers[who].begin_transaction)

    def send(self, who, partition, values):
        """The offset of each, or that it failed."""
        found = []
        for value in values:
            delivery = self.producers[who].send("out", value, None, (), partition, None, 1)
            found.append("failed" if delivery.error else delivery.receipt.offset)
        return found

    def offsets(self, who, offset, member=None):
        known = GroupMembership("g", "", -1) if member is None else member
        return self.outcome(self.producers[who].commit_offsets, {TopicPartition("in", 0): offset}, known, 1)

    def commit(self, who):
        return self.outcome(self.producers[who].commit_transaction, 1)

    def abort(self, who):
        return self.outcome(self.producers[who].abort_transaction, 1)

    def visible(self, isolation):
        found = {}
        for partition in (0, 1):
            log = self.cluster.topics.log(TopicPartition("out", partition))
            records, _ = log.read(0, 10_000, isolation == "read_committed")
            end = log.readable_end(isolation == "read_committed")
            found[partition] = [(record.offset, record.value) for record in records], end
        return found

    def progress(self):
        found = self.cluster.groups.committed("g", TopicPartition("in", 0))
        return None if found is None else found.offset


class Kafka:
    """The same of a real one."""

    def __init__(self, url):
        self.server = url.removeprefix("kafka://")
        self.run = uuid.uuid4().hex
        self.wire = Wire(url)
        admin = AdminClient({"bootstrap.servers": self.server})
        made = admin.create_topics([NewTopic(self.own("out"), 2, 1), NewTopic(self.own("in"), 1, 1)])
        for done in made.values():
            done.result()
        self.wire.await_topic(self.own("out"), (0, 1))
        self.wire.await_topic(self.own("in"), (0,))
        self.reader = self.consumer()
        self.producers = {}

    def own(self, name):
        return f"{name}-{self.run}"

    def close(self):
        self.reader.close()
        for who, producer in self.producers.items():
            producer.purge()
            self.still_under_way(who)
        self.wire.close()

    def consumer(self, isolation="read_committed", **more):
        return Consumer(
            {
                "bootstrap.servers": self.server,
                "group.id": self.own("g"),
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                **more,
            }
        )

    def outcome(self, call, *arguments):
        try:
            call(*arguments)
        except KafkaException as raised:
            error = raised.args[0]
            if error.code() in FENCED:
                return "fenced"
            if error.txn_requires_abort():
                return "to be aborted"
            raise
        finally:
            self.wire.await_end(self.own("id"))
        return "done"

    def make(self, who, **more):
        settings = {
            "bootstrap.servers": self.server,
            "transactional.id": self.own("id"),
            "linger.ms": 0,
        }
        self.producers[who] = Producer({**settings, **more})
        return self.outcome(self.producers[who].init_transactions, PATIENCE_S)

    def begin(self, who):
        return self.outcome(self.producers[who].begin_transaction)

    def send(self, who, partition, values):
        found = []

        def delivered(error, message):
            found.append("failed" if error else message.offset())

        for value in values:
            try:
                self.producers[who].produce(
                    self.own("out"), value, partition=partition, on_delivery=delivered
                )
            except KafkaException:
                found.append("failed")
        deadline = time.monotonic() + PATIENCE_S
        while self.still_under_way(who) and time.monotonic() < deadline:
            pass
        assert len(found) == len(values)
        return found

    def still_under_way(self, who):
        try:
            return self.producers[who].flush(1)
        except (KafkaException, SystemError):  # the client raises a fatal error from in between callbacks
            return True

    def offsets(self, who, offset, member=None):
        known = self.reader.consumer_group_metadata() if member is None else member
        place = [Log(self.own("in"), 0, offset)]
        return self.outcome(self.producers[who].send_offsets_to_transaction, place, known, PATIENCE_S)

    def commit(self, who):
        return self.outcome(self.producers[who].commit_transaction, PATIENCE_S)

    def abort(self, who):
        return self.outcome(self.producers[who].abort_transaction, PATIENCE_S)

    def visible(self, isolation):
        consumer = self.consumer(isolation)
        try:
            return {partition: self.read(consumer, partition) for partition in (0, 1)}
        finally:
            consumer.close()

    def read(self, consumer, partition):
        consumer.assign([Log(self.own("out"), partition, 0)])
        found = []
        while True:
            message = consumer.poll(PATIENCE_S)
            assert message is not None
            if message.error():
                return found, message.offset()
            found.append((message.offset(), message.value()))

    def progress(self):
        (found,) = self.reader.committed([Log(self.own("in"), 0)], PATIENCE_S)
        return found.offset if found.offset >= 0 else None


@pytest.fixture
def kafka(kafka_url):
    kafka = Kafka(kafka_url)
    yield kafka
    kafka.close()


class Steps:
    """The same steps on Kafka and on a cluster in memory of each version of the protocol."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.memories = [Memory(1), Memory(2)]
        self.told = []

    def do(self, verb, *arguments):
        """What happened, on all of them."""
        found = getattr(self.kafka, verb)(*arguments)
        self.told.append((verb, *arguments, found))
        for memory in self.memories:
            assert getattr(memory, verb)(*arguments) == found, "\n".join(map(str, self.told))
        return found

    def compare_what_remains(self):
        for isolation in ("read_committed", "read_uncommitted"):
            self.do("visible", isolation)
        self.do("progress")


@pytest.fixture
def steps(kafka):
    steps = Steps(kafka)
    yield steps
    for memory in steps.memories:
        memory.close()


class Author:
    """Invents steps, each in an order that producers may use."""

    def __init__(self, steps, seed):
        self.steps = steps
        self.chance = random.Random(seed)
        self.states = dict.fromkeys("ab", "absent")
        self.sent = 0

    def step(self):
        who = self.chance.choice("ab")
        state = self.states[who]
        if state in ("absent", "fenced"):
            self.after(who, self.steps.do("make", who), "ready")
        elif state == "ready":
            self.after(who, self.steps.do("begin", who), "open")
        elif state == "to be aborted":
            self.after(who, self.steps.do("abort", who), "ready")
        else:
            verbs = (self.send, self.send, self.send, self.offsets, self.commit, self.commit, self.abort)
            self.chance.choice(verbs)(who)

    def after(self, who, outcome, state):
        self.states[who] = state if outcome == "done" else outcome

    def send(self, who):
        values = [b"%d" % (self.sent + at) for at in range(self.chance.randint(1, 3))]
        self.sent += len(values)
        if "failed" in self.steps.do("send", who, self.chance.randrange(2), values):
            self.after(who, self.steps.do("commit", who), "impossible")

    def offsets(self, who):
        self.after(who, self.steps.do("offsets", who, self.chance.randint(0, 99)), "open")

    def commit(self, who):
        self.after(who, self.steps.do("commit", who), "ready")

    def abort(self, who):
        self.after(who, self.steps.do("abort", who), "ready")


@pytest.mark.parametrize("seed", range(30))
def test_transactions_go_the_same_way(steps, seed):
    author = Author(steps, seed)
    for _ in range(16):
        author.step()
    steps.do("make", "last")
    steps.compare_what_remains()


def test_a_transaction_that_is_open_for_too_long_fences_its_producer(kafka):
    """As a client of the protocol's first version is fenced, which librdkafka is."""
    memory = Memory(1)
    assert kafka.make("a", **{"transaction.timeout.ms": 1000}) == "done"
    kafka.begin("a")
    assert kafka.send("a", 0, [b"slow"]) == [0]
    memory.producers["a"] = memory.driver.producer(
        ProducerOptions(transactional_id="id", transaction_timeout_s=0.001)
    )
    memory.producers["a"].init_transactions(1)
    memory.begin("a")
    assert memory.send("a", 0, [b"slow"]) == [0]
    deadline = time.monotonic() + PATIENCE_S
    while kafka.wire.describe(kafka.own("id"))[1] != "CompleteAbort":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert memory.commit("a") == kafka.commit("a") == "fenced"
    for isolation in ("read_committed", "read_uncommitted"):
        assert memory.visible(isolation) == kafka.visible(isolation)
    memory.close()


def test_a_member_that_left_stores_no_progress(kafka):
    memory = Memory(2)
    reader = kafka.consumer()
    reader.subscribe([kafka.own("in")])
    reader.poll(PATIENCE_S)
    gone = reader.consumer_group_metadata()
    reader.close()
    mine = memory.driver.consumer(ConsumerOptions(topics=("in",), group="g"))
    mine.start(Silent(), 1)
    mine.poll(1, 0)
    also_gone = mine.membership()
    mine.close(1)
    found = []
    for side, member in ((kafka, gone), (memory, also_gone)):
        told = [side.make("a"), side.begin("a"), side.offsets("a", 5, member), side.abort("a")]
        found.append((told, side.progress()))
    assert found == [(["done", "done", "to be aborted", "done"], None)] * 2
    memory.close()


class Silent:
    """A listener that does nothing."""

    def on_assign(self, generation, partitions, positions):
        pass

    def on_revoke(self, generation, partitions):
        pass

    def on_lost(self, generation, partitions):
        pass
