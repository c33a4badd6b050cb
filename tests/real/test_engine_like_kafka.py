"""The engine against a real Kafka: the same requests to both, in both transaction protocols.

Two clients share a transactional id and do at random what clients do, and what broken ones do:
stale identities, repeated batches, gaps, ends twice, answers lost. Everything that is answered has to
agree (errors, identities, offsets), and so has what remains: the records a reader of either isolation
sees at which offsets, where stable offsets end, what the group has committed.
"""

import random
import time
import uuid
from itertools import count

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Log
from confluent_kafka.admin import AdminClient, NewTopic

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupCoordinator
from streamproof.core.groups import StaleEpoch, UnknownMember
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
from streamproof.core.transactional_id import Moment, ProducerIdentity
from streamproof.core.transactions import TransactionCoordinator
from streamproof.errors import ConfigurationError, StreamproofError, UnknownTopic
from streamproof.records import Record, TopicPartition
from tests.real.kafka_wire import Wire, batch

GROUP, TOPIC = "group", "topic"
NOBODY = (-1, -1)
NOW = Moment(1_700_000_000_000, 0)

NAMES = {
    InvalidProducerEpoch: "INVALID_PRODUCER_EPOCH",
    InvalidTransactionState: "INVALID_TXN_STATE",
    InvalidTransactionTimeout: "INVALID_TRANSACTION_TIMEOUT",
    NotInTransaction: "TRANSACTION_ABORTABLE",
    OutOfOrderSequence: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    ProducerFenced: "PRODUCER_FENCED",
    TransactionTimedOut: "PRODUCER_FENCED",
    UnknownProducerId: "INVALID_PRODUCER_ID_MAPPING",
    UnknownTransactionalId: "TRANSACTIONAL_ID_NOT_FOUND",
    UnknownTopic: "UNKNOWN_TOPIC_OR_PARTITION",
    UnknownMember: "UNKNOWN_MEMBER_ID",
    StaleEpoch: "ILLEGAL_GENERATION",
    ConfigurationError: "INVALID_REQUEST",
}

VERIFIED = {"PRODUCER_FENCED": "INVALID_PRODUCER_EPOCH", "TRANSACTION_ABORTABLE": "INVALID_TXN_STATE"}
"""What is said instead where the broker that stores asks the coordinator."""


def named(error, instead=()):
    name = NAMES[type(error)]
    return dict(instead).get(name, name)


class Engine:
    """The engine, asked like a broker."""

    def __init__(self):
        self.topics = Topics()
        self.groups = GroupCoordinator()
        self.topics.create(TOPIC, 1, TopicSettings(2))
        self.transactions = TransactionCoordinator(self.topics, self.groups, count(1).__next__)

    def log(self, partition):
        return self.topics.log(TopicPartition(TOPIC, partition))

    def init(self, name, expected=NOBODY, timeout_ms=60_000):
        known = None if expected == NOBODY else ProducerIdentity(*expected)
        try:
            return "NONE", tuple(self.transactions.init_producer_id(name, timeout_ms, NOW, known))
        except StreamproofError as error:
            return named(error), (-1, -1)

    def add(self, name, producer, partitions):
        logs = [TopicPartition(TOPIC, partition) for partition in partitions]
        try:
            self.transactions.add_partitions(name, ProducerIdentity(*producer), logs, NOW)
        except StreamproofError as error:
            return dict.fromkeys(partitions, named(error))
        return dict.fromkeys(partitions, "NONE")

    def add_offsets(self, name, producer):
        try:
            self.transactions.add_offsets(name, ProducerIdentity(*producer), GROUP, NOW)
        except StreamproofError as error:
            return named(error)
        return "NONE"

    def produce(self, name, producer, partition, sequence, records, version):
        log = self.log(partition)
        stamp = ProducerStamp(*producer, sequence, name is not None)
        try:
            if name is None:
                found = log.admit(stamp, records)
            else:
                found = self.transactions.admit(name, log, stamp, records, NOW, version)
        except StreamproofError as error:
            return named(error, VERIFIED), -1
        if found is not None:
            return "NONE", found
        first = log.end_offset
        made = [Record(TOPIC, partition, first + index, None, b"value") for index in range(records)]
        log.append(made, 100, 0, stamp)
        return "NONE", first

    def offsets(self, name, producer, offsets, version, member=("", -1)):
        given = {TopicPartition(TOPIC, at): CommittedOffset(offset) for at, offset in offsets.items()}
        try:
            self.transactions.commit_offsets(
                name, ProducerIdentity(*producer), GROUP, *member, given, NOW, version
            )
        except StreamproofError as error:
            return dict.fromkeys(offsets, named(error, VERIFIED))
        return dict.fromkeys(offsets, "NONE")

    def end(self, name, producer, is_commit, version):
        try:
            found = self.transactions.end_transaction(
                name, ProducerIdentity(*producer), is_commit, NOW, version
            )
        except StreamproofError as error:
            return named(error), producer if version == 1 else (-1, -1)
        return "NONE", producer if version == 1 else tuple(found)

    def committed(self, is_stable):
        found = {}
        for partition in (0, 1):
            log = TopicPartition(TOPIC, partition)
            stored = self.groups.committed(GROUP, log)
            if is_stable and self.groups.is_unstable(GROUP, log):
                found[partition] = ("UNSTABLE_OFFSET_COMMIT", -1)
            else:
                found[partition] = ("NONE", -1 if stored is None else stored.offset)
        return found

    def describe(self, name, _):
        try:
            found = self.transactions.describe(name)
        except StreamproofError as error:
            return named(error), "", (-1, -1), set()
        return "NONE", found.state, tuple(found.producer), {log.partition for log in found.partitions}

    def visible(self, is_committed):
        """By partition: the offsets that are read, and where reading ends."""
        found = {}
        for partition in (0, 1):
            log = self.log(partition)
            records, _ = log.read(0, 10_000, is_committed) if log.end_offset else ([], 0)
            found[partition] = [record.offset for record in records], log.readable_end(is_committed)
        return found


def either(error):
    """Which of the two it is depends on whose requests the broker happens to verify together."""
    return error.replace("TRANSACTION_ABORTABLE", "INVALID_TXN_STATE")


class Kafka:
    """The same, of a real one."""

    def __init__(self, url):
        self.wire = Wire(url)
        self.server = url.removeprefix("kafka://")
        self.topic = f"like-{uuid.uuid4().hex}"
        admin = AdminClient({"bootstrap.servers": self.server})
        admin.create_topics([NewTopic(self.topic, 2, 1)])[self.topic].result()
        self.wire.await_topic(self.topic, (0, 1))

    def own(self, name):
        """Names that no other run has."""
        return name if name is None else f"{name}-{self.topic}"

    def init(self, name, expected=NOBODY, timeout_ms=60_000):
        found = self.wire.init(self.own(name), timeout_ms, expected)
        self.wire.await_end(self.own(name))
        return found

    def await_timeout(self, name):
        """Kafka looks every ten seconds."""
        deadline = time.monotonic() + 30
        while self.wire.describe(self.own(name))[1] != "CompleteAbort":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def add(self, name, producer, partitions):
        return self.wire.add(self.own(name), producer, self.topic, partitions)

    def add_offsets(self, name, producer):
        return self.wire.add_offsets(self.own(name), producer, self.own(GROUP))

    def produce(self, name, producer, partition, sequence, records, version):
        made = batch(*producer, sequence, records, is_transactional=name is not None)
        error, offset = self.wire.produce(self.own(name), self.topic, partition, made, version)
        return either(error), offset

    def offsets(self, name, producer, offsets, version, member=("", -1)):
        found = self.wire.offsets(
            self.own(name), producer, self.own(GROUP), self.topic, offsets, version, member
        )
        return {partition: either(error) for partition, error in found.items()}

    def end(self, name, producer, is_commit, version):
        found = self.wire.end(self.own(name), producer, is_commit, version)
        self.wire.await_end(self.own(name))
        return found

    def committed(self, is_stable):
        return self.wire.committed(self.own(GROUP), self.topic, (0, 1), is_stable=is_stable)

    def describe(self, name, _):
        error, state, producer, logs = self.wire.describe(self.own(name))
        return error, state, producer, {partition for topic, partition in logs if topic == self.topic}

    def visible(self, is_committed):
        level = "read_committed" if is_committed else "read_uncommitted"
        consumer = Consumer(
            {
                "bootstrap.servers": self.server,
                "group.id": uuid.uuid4().hex,
                "isolation.level": level,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            return {partition: self.read(consumer, partition) for partition in (0, 1)}
        finally:
            consumer.close()

    def read(self, consumer, partition):
        consumer.assign([Log(self.topic, partition, 0)])
        offsets = []
        while True:
            message = consumer.poll(30)
            assert message is not None
            if message.error():
                return offsets, message.offset()
            offsets.append(message.offset())


@pytest.fixture
def both(kafka_url):
    kafka = Kafka(kafka_url)
    yield Engine(), kafka
    kafka.wire.close()


class Client:
    """One client of the random walk: what it believes about itself."""

    def __init__(self, name, version):
        self.name = name
        self.version = version
        self.identity = NOBODY
        self.sequences = {}
        self.sent = []

    def become(self, identity):
        if identity != self.identity:
            self.sequences = {}
        self.identity = identity


IDENTITY_AT = {"init": 1, "end": 1, "describe": 2}


class Walk:
    """The same steps on both sides; every answer is compared at once."""

    def __init__(self, engine, kafka, seed):
        self.engine, self.kafka = engine, kafka
        self.chance = random.Random(seed)
        self.clients = [Client(name, self.chance.choice((1, 2))) for name in ("one", "one", "two")]
        self.ids = {-1: -1}
        self.steps = []

    def ask(self, verb, name, producer, *arguments):
        """The answer that both gave."""
        self.steps.append((verb, name, producer, *arguments))
        one = getattr(self.engine, verb)(name, producer, *arguments)
        two = getattr(self.kafka, verb)(name, (self.ids[producer[0]], producer[1]), *arguments)
        expected = one
        if verb in IDENTITY_AT:
            at = IDENTITY_AT[verb]
            pid, epoch = one[at]
            self.ids.setdefault(pid, two[at][0])
            expected = (*one[:at], (self.ids[pid], epoch), *one[at + 1 :])
        assert two == expected, f"Kafka: {two}, engine: {expected}, after\n" + "\n".join(map(str, self.steps))
        return one

    def step(self):
        client = self.chance.choice(self.clients)
        if client.identity == NOBODY or self.chance.random() < 0.06:
            self.init(client)
        else:
            verbs = (self.produce,) * 4 + (self.add, self.add, self.offsets, self.end, self.end, self.look)
            self.chance.choice(verbs)(client)

    def init(self, client):
        is_same = self.chance.random() < 0.5
        error, identity = self.ask("init", client.name, client.identity if is_same else NOBODY)
        if error == "NONE" and self.chance.random() < 0.9:  # else the answer is lost
            client.become(identity)

    def add(self, client):
        self.ask("add", client.name, client.identity, self.chance.choice([(0,), (1,), (0, 1)]))

    def produce(self, client):
        partition, records = self.chance.randrange(2), self.chance.randint(1, 3)
        sequence = client.sequences.get(partition, 0)
        kind = self.chance.random()
        if kind < 0.15 and client.sent:
            partition, sequence, records = self.chance.choice(client.sent[-7:])
        elif kind < 0.25:
            sequence += self.chance.choice((-1, 1)) if sequence else 1
        version = client.version
        name = None if kind > 0.97 else client.name
        error, _ = self.ask("produce", name, client.identity, partition, sequence, records, version)
        if error == "NONE" and kind >= 0.15:
            client.sequences[partition] = sequence + records
            client.sent.append((partition, sequence, records))

    def offsets(self, client):
        if client.version == 1 and self.chance.random() < 0.8:
            self.ask("add_offsets", client.name, client.identity)
        logs = self.chance.choice([(0,), (1,), (0, 1)])
        offsets = {partition: self.chance.randint(0, 99) for partition in logs}
        self.ask("offsets", client.name, client.identity, offsets, client.version)

    def end(self, client):
        is_commit = self.chance.random() < 0.6
        error, identity = self.ask("end", client.name, client.identity, is_commit, client.version)
        if error == "NONE" and self.chance.random() < 0.85:  # else the answer is lost
            client.become(identity)

    def look(self, client):
        self.ask("describe", client.name, NOBODY)
        is_stable = self.chance.random() < 0.5
        assert self.kafka.committed(is_stable) == self.engine.committed(is_stable)

    def finish(self):
        for is_committed in (False, True):
            assert self.kafka.visible(is_committed) == self.engine.visible(is_committed)
        for name in {client.name for client in self.clients}:
            self.ask("init", name, NOBODY)
            assert self.kafka.committed(True) == self.engine.committed(True)
        for is_committed in (False, True):
            assert self.kafka.visible(is_committed) == self.engine.visible(is_committed)


@pytest.mark.parametrize("seed", range(30))
def test_engine_and_kafka_answer_the_same(both, seed):
    walk = Walk(*both, seed)
    for _ in range(40):
        walk.step()
    walk.finish()


def test_after_a_timeout_engine_and_kafka_answer_the_same(both):
    engine, kafka = both
    walk = Walk(engine, kafka, 0)
    clients = [Client(f"late-{version}", version) for version in (1, 2)]
    for client in clients:
        client.identity = engine.init(client.name, timeout_ms=1)[1]
        walk.ids[client.identity[0]] = kafka.init(client.name, timeout_ms=1)[1][0]
        walk.ask("add", client.name, client.identity, (0,))
        walk.ask("produce", client.name, client.identity, 0, 0, 2, client.version)
    for client in clients:
        kafka.await_timeout(client.name)
    assert len(engine.transactions.expire(Moment(NOW.ms + 1, NOW.ns + 1_000_000))) == 2
    for client in clients:
        name, identity, version = client.name, client.identity, client.version
        walk.ask("describe", name, NOBODY)
        for is_commit in (True, False):
            walk.ask("end", name, identity, is_commit, version)
        walk.ask("add", name, identity, (1,))
        for partition in (0, 1):
            walk.ask("produce", name, identity, partition, 2, 1, version)
        walk.ask("add_offsets", name, identity)
        walk.ask("offsets", name, identity, {0: 1}, version)
        walk.ask("init", name, identity)
    walk.finish()
