"""Kafka from coroutines: streamproof beside aiokafka alone, with the same settings."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import streamproof
from streamproof.drivers.kafka_aiokafka.settings import address_settings, consumer_settings, producer_settings
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import parse_address
from tools.bench.kafka import BATCH, PARTITIONS, READ, VALUE, Stand
from tools.bench.rows import Row, at_least
from tools.bench.runs import Rows, Session, Stopwatch, paired, require_all, same

SENT = 100_000
BARE = "aiokafka"

Loop = Callable[[str, str, int], Awaitable[float]]


def bare_producer(url: str) -> Any:
    """A client of the library alone, with the settings ours has."""
    import aiokafka

    make: Any = aiokafka.AIOKafkaProducer
    return make(**producer_settings(address_settings(parse_address(url)), ProducerOptions()))


async def bare_send(url: str, topic: str, count: int) -> float:
    """``await send``; every future is kept, and its outcome looked at."""
    producer = bare_producer(url)
    await producer.start()
    try:
        await producer.partitions_for(topic)
        sent: list[asyncio.Future[Any]] = []
        with Stopwatch() as watch:
            for _ in range(count):
                sent.append(await producer.send(topic, VALUE))
            await producer.flush()
            acknowledged = sum(future.done() and future.exception() is None for future in sent)
        require_all(acknowledged, count, "sends were acknowledged")
    finally:
        await producer.stop()
    return watch.rate(count)


async def send_kept(url: str, topic: str, count: int) -> float:
    """``await send``; every delivery is kept, and its outcome looked at."""
    outcome = streamproof.Outcome.ACKNOWLEDGED
    async with await streamproof.aconnect(url) as bus, await bus.producer() as producer:
        deliveries: list[streamproof.AsyncDelivery] = []
        with Stopwatch() as watch:
            for _ in range(count):
                deliveries.append(await producer.send(topic, VALUE))
            await producer.flush(60)
            acknowledged = sum(delivery.outcome is outcome for delivery in deliveries)
        require_all(acknowledged, count, "sends were acknowledged")
    return watch.rate(count)


async def send_many(url: str, topic: str, count: int) -> float:
    """``await send_many`` of a thousand; every batch's errors are looked at."""
    async with await streamproof.aconnect(url) as bus, await bus.producer() as producer:
        batches: list[streamproof.AsyncDeliveries] = []
        many: list[streamproof.Outgoing[Any, Any]] = [streamproof.Outgoing(VALUE)] * BATCH
        with Stopwatch() as watch:
            for start in range(0, count, BATCH):
                batches.append(await producer.send_many(topic, many[: count - start]))
            await producer.flush(60)
            acknowledged = sum(len(batch) for batch in batches if not batch.errors)
        require_all(acknowledged, count, "sends were acknowledged")
    return watch.rate(count)


async def bare_poll(url: str, topic: str, count: int) -> float:
    """``getmany`` of a thousand to the end, reading key, value and offset."""
    import aiokafka

    make: Any = aiokafka.AIOKafkaConsumer
    settings = consumer_settings(address_settings(parse_address(url)), ConsumerOptions(topics=(topic,)))
    # With partitions assigned by hand there is no assignor, and where to begin is the client's.
    del settings["partition_assignment_strategy"]
    consumer = make(**{**settings, "auto_offset_reset": "earliest"})
    consumer.assign([aiokafka.TopicPartition(topic, index) for index in range(PARTITIONS)])
    await consumer.start()
    try:
        found = await consumer.getmany(timeout_ms=30_000, max_records=1)
        seen = sum(map(len, found.values()))
        require_all(seen, 1, "records came at all")
        with Stopwatch() as watch:
            while seen < count:
                found = await consumer.getmany(timeout_ms=10_000, max_records=BATCH)
                for records in found.values():
                    for record in records:
                        record.key  # noqa: B018
                        record.value  # noqa: B018
                        record.offset  # noqa: B018
                    seen += len(records)
    finally:
        await consumer.stop()
    return watch.rate(count - 1)


async def poll(url: str, topic: str, count: int) -> float:
    """``await poll(1000)`` without a group, reading key, value and offset."""
    async with await streamproof.aconnect(url) as bus, await bus.consumer(topic) as consumer:
        seen = len(await consumer.poll(1, 30.0))
        require_all(seen, 1, "records came at all")
        with Stopwatch() as watch:
            while seen < count:
                records = await consumer.poll(BATCH, 10.0)
                for record in records:
                    record.key  # noqa: B018
                    record.value  # noqa: B018
                    record.offset  # noqa: B018
                seen += len(records)
    return watch.rate(count - 1)


async def poll_in_group(url: str, topic: str, count: int) -> float:
    """The same in a group of its own; every batch is acknowledged, stored every five seconds."""
    group = f"bench-{uuid.uuid4().hex[:12]}"
    async with await streamproof.aconnect(url) as bus, await bus.consumer(topic, group=group) as consumer:
        records = await consumer.poll(1, 30.0)
        seen = len(records)
        require_all(seen, 1, "records came at all")
        await consumer.ack(records)
        with Stopwatch() as watch:
            while seen < count:
                records = await consumer.poll(BATCH, 10.0)
                for record in records:
                    record.key  # noqa: B018
                    record.value  # noqa: B018
                    record.offset  # noqa: B018
                await consumer.ack(records)
                seen += len(records)
    return watch.rate(count - 1)


def sending(name: str, what: str, loop: Loop) -> Callable[[Session], Rows]:
    """A measurement of one way of sending."""

    def measure(session: Session) -> Rows:
        url, count = session.brokers.url("kafka"), session.count(SENT)
        with streamproof.connect(url) as bus:
            pair = paired(
                session,
                lambda topic: asyncio.run(loop(url, topic, count)),  # type: ignore[arg-type]
                lambda topic: asyncio.run(bare_send(url, topic, count)),
                Stand(url, bus).topic,
            )
        beside = f"{BARE}: await send(…)"
        yield Row(name, what, pair.ours, beside, pair.theirs, pair.ratio, at_least("ratio", 0.9))

    return measure


def reading(name: str, what: str, loop: Loop) -> Callable[[Session], Rows]:
    """A measurement of one way of reading."""

    def measure(session: Session) -> Rows:
        url, count = session.brokers.url("kafka"), max(BATCH, session.count(READ) // BATCH * BATCH)
        with streamproof.connect(url) as bus:
            stand = Stand(url, bus)
            with stand.topic() as topic:
                stand.fill(topic, count)
                pair = paired(
                    session,
                    lambda _: asyncio.run(loop(url, topic, count)),  # type: ignore[arg-type]
                    lambda _: asyncio.run(bare_poll(url, topic, count)),
                    lambda: same(topic),
                )
        beside = f"{BARE}: getmany(max_records=1000), assigned"
        yield Row(name, what, pair.ours, beside, pair.theirs, pair.ratio, at_least("ratio", 0.9))

    return measure


MEASUREMENTS = {
    "kafka-async-send": sending(
        "kafka-async-send", "Kafka async: send, every delivery kept and looked at", send_kept
    ),
    "kafka-async-send-many": sending("kafka-async-send-many", "Kafka async: send_many of 1,000", send_many),
    "kafka-async-poll": reading(
        "kafka-async-poll", "Kafka async: poll(1000), reading key, value, offset", poll
    ),
    "kafka-async-poll-group": reading(
        "kafka-async-poll-group", "Kafka async: the same in a group, every batch acknowledged", poll_in_group
    ),
}
