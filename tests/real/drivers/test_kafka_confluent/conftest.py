"""The driver on a real broker, without the classes that applications hold above it."""

import os
import secrets
import time

import pytest

from streamproof.drivers.kafka_confluent import open_driver
from streamproof.errors import TimedOut
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import TopicPartition, TopicSpec
from streamproof.url import parse_address
from streamproof_harness import servers

PATIENCE_S = 30.0
SESSION_S = 6.0


class Ear:
    """A listener that remembers, and does ``during_revoke`` while it is told that logs go."""

    def __init__(self):
        self.heard = []
        self.positions = {}
        self.during_revoke = lambda partitions: None

    def on_assign(self, generation, partitions, positions):
        self.heard.append(("assign", generation, tuple(partitions)))
        self.positions.update(positions)

    def on_revoke(self, generation, partitions):
        self.during_revoke(partitions)
        self.heard.append(("revoke", generation, tuple(partitions)))

    def on_lost(self, generation, partitions):
        self.heard.append(("lost", generation, tuple(partitions)))

    def said(self, word):
        return [(generation, partitions) for said, generation, partitions in self.heard if said == word]


class Place:
    """One connection, fresh names, and waiting for conditions."""

    def __init__(self, url):
        self.url = url
        self.driver = open_driver(parse_address(url), 10.0)
        self.admin = self.driver.admin()

    def name(self, what="topic"):
        return f"{what}-{secrets.token_hex(6)}"

    def topic(self, partitions=1, **settings):
        name = self.name()
        self.admin.create_topics([TopicSpec(name, partitions, **settings)], PATIENCE_S)
        return name

    def create(self, name):
        self.admin.create_topics([TopicSpec(name)], PATIENCE_S)

    def new_ear(self):
        return Ear()

    def producer(self, **options):
        return self.driver.producer(ProducerOptions(**{"linger_ms": 0.0, **options}))

    def consumer(self, *topics, ear=None, **options):
        if options.get("group"):
            options.setdefault("session_timeout_s", SESSION_S)
        consumer = self.driver.consumer(ConsumerOptions(topics=topics, **options))
        consumer.start(ear or Ear(), PATIENCE_S)
        return consumer

    def fill(self, topic, count, partition=None):
        producer = self.producer()
        deliveries = [
            producer.send(topic, b"%d" % number, None, (), partition, None, PATIENCE_S)
            for number in range(count)
        ]
        receipts = [delivery.result(PATIENCE_S) for delivery in deliveries]
        producer.close(PATIENCE_S)
        return receipts

    def wait_for(self, condition, what, step=lambda: time.sleep(0.01)):
        """Take steps until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
            step()

    def read(self, consumer, count):
        """So many records, or fail."""
        records = []
        self.wait_for(
            lambda: len(records) >= count,
            f"{count} records",
            lambda: records.extend(consumer.poll(count - len(records), 0.5)),
        )
        return records

    def join(self, *consumers, logs):
        """Poll all of them until they hold so many logs together, each at least one; returns what
        records came meanwhile."""
        records = []
        self.wait_for(
            lambda: (
                sum(len(consumer.assignment()) for consumer in consumers) == logs
                and all(consumer.assignment() for consumer in consumers)
            ),
            f"{logs} logs to be shared",
            lambda: [records.extend(consumer.poll(100, 0.05)) for consumer in consumers],
        )
        return records

    def hang(self, server):
        """Pause the broker; its threads stop one after the other, so wait until it is silent."""
        server.pause()

        def is_silent():
            try:
                self.admin.list_topics(0.5)
            except TimedOut:
                return True
            return False

        self.wait_for(is_silent, "the broker to be silent")

    @staticmethod
    def logs(topic, count):
        return tuple(TopicPartition(topic, index) for index in range(count))


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def place(kafka_url):
    found = Place(kafka_url)
    yield found
    found.driver.close(PATIENCE_S)


@pytest.fixture(scope="module")
def own_server():
    """A broker to do harm to, started once: that takes longer than the tests."""
    how = servers.find("kafka", private=True)
    if isinstance(how, servers.Absent):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(how))
    with servers.start("kafka", private=True) as server:
        yield server


@pytest.fixture
def private(own_server):
    """That broker, alive, and a place on it."""
    if not own_server.is_running():
        own_server.restart()
    found = Place(own_server.url)
    yield own_server, found
    found.driver.close(PATIENCE_S)
