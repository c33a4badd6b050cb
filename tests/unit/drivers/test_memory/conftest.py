"""A cluster whose time stands still unless a test moves it, and listeners that remember."""

import asyncio
import inspect

import pytest

from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.settings import MemorySettings
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


class Transacting:
    """A cluster with topics ``in`` and ``out``, and short ways to transact in one colour."""

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
            found = self.cluster.groups.committed(group, TopicPartition("in", 0))
        return None if found is None else found.offset

    def state(self, name="x"):
        return self.cluster.transactions.describe(name).state


@pytest.fixture(params=["sync", "async"])
def make_transacting(request, clock, make_ear, make_async_ear):
    ear = make_ear if request.param == "sync" else make_async_ear
    with asyncio.Runner() as runner:

        async def awaited(made):
            return await made

        yield lambda **settings: Transacting(
            request.param, clock, ear, lambda made: runner.run(awaited(made)), **settings
        )
