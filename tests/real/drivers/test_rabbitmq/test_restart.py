"""The whole server goes and comes back: a private one, killed with -9 in the middle of the work."""

import asyncio
import threading
import time

import pytest

import streamproof
from streamproof import Outcome
from tests.conftest import StartPrivate
from tests.real.drivers.test_rabbitmq.conftest import wait_until
from tests.real.drivers.test_rabbitmq.test_async import until

RECORDS = 3000

WRITTEN_S = 3.0
"""RabbitMQ writes down which queues it has half a second after the last change, and nothing tells
when it has: killed before, 3.10 never finds those queues again."""


class Consuming:
    """A group's member and a reader on threads of their own."""

    def __init__(self, bus: streamproof.Bus) -> None:
        self.handled: list[bytes] = []
        self.seen: list[tuple[int, int]] = []
        self.stop = threading.Event()
        self.consumers = [bus.consumer("t", group="g", session_timeout_s=5), bus.consumer("t")]
        self.threads = [
            threading.Thread(target=self._work, args=(consumer,), daemon=True) for consumer in self.consumers
        ]
        for thread in self.threads:
            thread.start()

    def _work(self, consumer: streamproof.Consumer) -> None:
        is_member = consumer is self.consumers[0]
        while not self.stop.is_set():
            for record in consumer.poll(100, 0.2):
                if not is_member:
                    self.seen.append((record.partition, record.offset))
                    continue
                self.handled.append(record.value)
                try:
                    consumer.ack(record)
                except streamproof.NotAssigned:
                    break

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


@pytest.mark.rabbitmq
def test_a_killed_server_loses_nothing_that_was_acknowledged(start_private: StartPrivate) -> None:
    server = start_private("rabbitmq")
    with streamproof.connect(server.url) as bus:
        bus.admin().create_topic("t", 2)
        consuming = Consuming(bus)
        made_s = time.monotonic()
        producer = bus.producer(delivery_timeout_s=60)
        deliveries = {}
        for number in range(RECORDS):
            deliveries[b"%d" % number] = producer.send("t", b"%d" % number, partition=number % 2)
            if number == RECORDS // 3:
                wait_until(lambda: len(consuming.handled) > 100, "the group works")
                wait_until(lambda: time.monotonic() - made_s > WRITTEN_S, "the queues are written down")
                server.kill()
        server.restart()
        producer.flush(60)
        outcomes = {delivery.outcome for delivery in deliveries.values()}
        assert outcomes <= {Outcome.ACKNOWLEDGED, Outcome.UNKNOWN}
        acknowledged = {value for value, sent in deliveries.items() if sent.outcome is Outcome.ACKNOWLEDGED}
        assert len(acknowledged) > RECORDS // 3
        wait_until(lambda: acknowledged <= set(consuming.handled), "the group has all of them", 60)
        consuming.end()
        offsets = {partition: [o for p, o in consuming.seen if p == partition] for partition in (0, 1)}
        assert all(found == sorted(set(found)) for found in offsets.values())


@pytest.mark.rabbitmq
def test_a_killed_server_loses_nothing_that_was_acknowledged_async(start_private: StartPrivate) -> None:
    server = start_private("rabbitmq")
    handled: list[bytes] = []

    async def work(consumer: streamproof.AsyncConsumer, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for record in await consumer.poll(100, 0.2):
                handled.append(record.value)
                try:
                    await consumer.ack(record)
                except streamproof.NotAssigned:
                    break

    async def play() -> None:
        async with await streamproof.aconnect(server.url) as bus:
            await (await bus.admin()).create_topic("t", 2)
            stop = asyncio.Event()
            consumer = await bus.consumer("t", group="g", session_timeout_s=5)
            worker = asyncio.create_task(work(consumer, stop))
            made_s = time.monotonic()
            producer = await bus.producer(delivery_timeout_s=60)
            deliveries = {}
            for number in range(RECORDS):
                value = b"%d" % number
                deliveries[value] = await producer.send("t", value, partition=number % 2)
                if number == RECORDS // 3:
                    await until(lambda: len(handled) > 100, "the group works")
                    await until(lambda: time.monotonic() - made_s > WRITTEN_S, "the queues are written down")
                    server.kill()
            await asyncio.to_thread(server.restart)
            await producer.flush(60)
            acknowledged = {
                value for value, sent in deliveries.items() if sent.outcome is Outcome.ACKNOWLEDGED
            }
            assert len(acknowledged) > RECORDS // 3
            assert {sent.outcome for sent in deliveries.values()} <= {Outcome.ACKNOWLEDGED, Outcome.UNKNOWN}
            await until(lambda: acknowledged <= set(handled), "the group has all of them")
            stop.set()
            await worker

    asyncio.run(asyncio.wait_for(play(), 120))
