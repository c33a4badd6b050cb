"""The async driver on a real broker, without the classes that applications hold above it."""

import asyncio
import gc
import secrets
import time
import warnings

import pytest

from streamproof.drivers.kafka_aiokafka import open_driver
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import TopicSpec
from streamproof.url import parse_address

PATIENCE_S = 30.0
SESSION_S = 6.0


class Ear:
    """A listener that remembers, and does ``during_revoke`` while it is told that logs go."""

    def __init__(self):
        self.heard = []
        self.positions = {}
        self.during_revoke = None

    async def on_assign(self, generation, partitions, positions):
        self.heard.append(("assign", generation, tuple(partitions)))
        self.positions.update(positions)

    async def on_revoke(self, generation, partitions):
        if self.during_revoke is not None:
            await self.during_revoke(partitions)
        self.heard.append(("revoke", generation, tuple(partitions)))

    async def on_lost(self, generation, partitions):
        self.heard.append(("lost", generation, tuple(partitions)))

    def said(self, word):
        return [(generation, partitions) for said, generation, partitions in self.heard if said == word]


class Place:
    """One connection, fresh names, and waiting for conditions."""

    def __init__(self, url, driver, admin):
        self.url = url
        self.driver = driver
        self.admin = admin

    def name(self, what="topic"):
        return f"{what}-{secrets.token_hex(6)}"

    async def topic(self, partitions=1, **settings):
        name = self.name()
        await self.admin.create_topics([TopicSpec(name, partitions, **settings)], PATIENCE_S)
        return name

    async def producer(self, **options):
        return await self.driver.producer(ProducerOptions(**{"linger_ms": 0.0, **options}))

    async def consumer(self, *topics, ear=None, **options):
        if options.get("group"):
            options.setdefault("session_timeout_s", SESSION_S)
        consumer = await self.driver.consumer(ConsumerOptions(topics=topics, **options))
        await consumer.start(ear or Ear(), PATIENCE_S)
        return consumer

    async def send(
        self, producer, topic, value=b"v", key=None, headers=(), partition=None, timestamp_ms=None
    ):
        return await producer.send(topic, value, key, headers, partition, timestamp_ms, PATIENCE_S)

    async def fill(self, topic, count, partition=None):
        producer = await self.producer()
        deliveries = [
            await self.send(producer, topic, b"%d" % number, partition=partition) for number in range(count)
        ]
        receipts = [await delivery.result(PATIENCE_S) for delivery in deliveries]
        await producer.close(PATIENCE_S)
        return receipts

    async def wait_for(self, condition, what, step=None):
        """Take steps until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
            await (step() if step else asyncio.sleep(0.01))


def play(url, scene):
    """Run ``scene(place)`` on a loop of its own, and see that it leaves nothing behind."""
    complaints = []

    async def whole():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        driver = await open_driver(parse_address(url), 10.0)
        try:
            await scene(Place(url, driver, await driver.admin()))
        finally:
            await driver.close(10.0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=1.0)
        return [task for task in left if not task.done()]

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        left = asyncio.run(whole())
        gc.collect()
    assert left == []
    assert complaints == []
    assert [str(one.message) for one in warned if "Unclosed" in str(one.message)] == []


@pytest.fixture
def stage(kafka_url):
    """``play`` on the run's broker."""
    return lambda scene: play(kafka_url, scene)


@pytest.fixture
def ear_type():
    """The listener's class."""
    return Ear


@pytest.fixture
def play_on():
    """``play`` itself."""
    return play
