"""A cluster whose time stands still unless a test moves it, and listeners that remember."""

import pytest

from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import TopicPartition, TopicSpec


class HandClock:
    def __init__(self):
        self.passed_s = 0.0

    def advance(self, seconds):
        self.passed_s += seconds

    def now_ms(self):
        return 1_700_000_000_000 + int(self.passed_s * 1000)

    def monotonic_ns(self):
        return int(self.passed_s * 1_000_000_000)


class Ear:
    """A listener of both colours' shape for the blocking one; ``heard`` is what it was told."""

    def __init__(self):
        self.heard = []
        self.positions = {}
        self.during_revoke = lambda partitions: None

    def on_assign(self, generation, partitions, positions):
        self.heard.append(("assign", generation, numbers(partitions)))
        self.positions.update(positions)

    def on_revoke(self, generation, partitions):
        self.during_revoke(partitions)
        self.heard.append(("revoke", generation, numbers(partitions)))

    def on_lost(self, generation, partitions):
        self.heard.append(("lost", generation, numbers(partitions)))


class AsyncEar(Ear):
    async def on_assign(self, generation, partitions, positions):
        Ear.on_assign(self, generation, partitions, positions)

    async def on_revoke(self, generation, partitions):
        Ear.on_revoke(self, generation, partitions)

    async def on_lost(self, generation, partitions):
        Ear.on_lost(self, generation, partitions)


def numbers(partitions):
    return [partition.partition for partition in partitions]


class World:
    """A cluster with a topic ``readings`` of four partitions, and short ways to use it."""

    def __init__(self, clock):
        self.clock = clock
        self.cluster = MemoryCluster("test", clock=clock)
        self.driver = self.cluster.driver()
        self.admin = self.driver.admin()
        self.admin.create_topics([TopicSpec("readings", 4)], 1)
        self.producer = self.driver.producer(ProducerOptions())

    def send(self, value=b"value", key=None, partition=None, timestamp_ms=None, topic="readings", headers=()):
        return self.producer.send(topic, value, key, headers, partition, timestamp_ms, 1)

    def options(self, group="g", **options):
        if "pattern" not in options:
            options.setdefault("topics", ("readings",))
        return ConsumerOptions(group=group, **options)

    def consumer(self, group="g", ear=None, **options):
        """A started consumer and its ear."""
        ear = ear or Ear()
        consumer = self.driver.consumer(self.options(group, **options))
        consumer.start(ear, 1)
        return consumer, ear

    def settle(self, *consumers):
        """Poll in turn until nobody has anything to hear; what was polled meanwhile."""
        found = []
        for _ in range(5):
            for consumer in consumers:
                found += consumer.poll(1000, 0)
        return found


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def world(clock):
    return World(clock)


@pytest.fixture
def make_ear():
    return Ear


@pytest.fixture
def make_async_ear():
    return AsyncEar


@pytest.fixture
def log():
    """``log(2)`` is partition 2 of ``readings``."""
    return lambda partition, topic="readings": TopicPartition(topic, partition)
