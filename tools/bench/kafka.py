"""Kafka from threads: streamproof beside confluent-kafka alone.

Both sides have the same settings, those that streamproof chooses by default, idempotence among
them. The bare client counts its delivery reports in ``on_delivery``, as its documentation shows.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamproof
from streamproof.drivers.kafka.options import client_settings, consumer_settings, producer_settings
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import parse_address
from tools.bench.rows import Row, Target, at_least
from tools.bench.runs import Pair, Rows, Session, Stopwatch, paired, require_all, same

PARTITIONS = 4
VALUE = bytes(100)
BATCH = 1000
SENT = 200_000
READ = 1_000_000
BARE = "confluent-kafka"


class Stand:
    """One broker, and one bus to it."""

    def __init__(self, url: str, bus: streamproof.Bus) -> None:
        self.url = url
        self.bus = bus

    @contextmanager
    def topic(self) -> Iterator[str]:
        """A topic of its own, empty, gone afterwards."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        admin = self.bus.admin()
        admin.create_topic(name, PARTITIONS)
        try:
            yield name
        finally:
            admin.delete_topics(name)

    def fill(self, topic: str, count: int) -> None:
        """Put keyed records in."""
        with self.bus.producer() as producer:
            for start in range(0, count, BATCH):
                many = [streamproof.Outgoing(VALUE, b"%d" % number) for number in range(start, start + BATCH)]
                producer.send_many(topic, many)
            producer.flush(60)

    def bare_producer(self) -> Any:
        """A client of the library alone, with the settings ours has, connected."""
        import confluent_kafka

        producer = confluent_kafka.Producer(
            producer_settings(client_settings(parse_address(self.url)), ProducerOptions())
        )
        producer.list_topics(timeout=10)
        return producer

    def bare_consumer(self, group: str | None, **settings: object) -> Any:
        """A client of the library alone, with the settings ours has and ``settings``."""
        import confluent_kafka

        name = group or uuid.uuid4().hex
        options = ConsumerOptions(topics=("any",), group=group)
        common = client_settings(parse_address(self.url))
        chosen = {**consumer_settings(common, options, name), "auto.offset.reset": "earliest", **settings}
        return confluent_kafka.Consumer(chosen)


# -- sending ----------------------------------------------------------------------------------


def bare_send(stand: Stand, topic: str, count: int) -> float:
    """``produce`` with ``on_delivery``, polling now and then, as the documentation has it."""
    producer = stand.bare_producer()
    acknowledged = 0

    def delivered(error: object, message: object) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1

    with Stopwatch() as watch:
        for number in range(count):
            while True:
                try:
                    producer.produce(topic, VALUE, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.01)
            if number & 1023 == 0:
                producer.poll(0)
        while producer.flush(10):
            pass
    require_all(acknowledged, count, "reports came")
    return watch.rate(count)


def send_kept(stand: Stand, topic: str, count: int) -> float:
    """``send``; every delivery is kept, and its outcome looked at."""
    outcome = streamproof.Outcome.ACKNOWLEDGED
    with stand.bus.producer() as producer:
        deliveries: list[streamproof.Delivery] = []
        with Stopwatch() as watch:
            for _ in range(count):
                deliveries.append(producer.send(topic, VALUE))
            producer.flush(60)
            acknowledged = sum(delivery.outcome is outcome for delivery in deliveries)
        require_all(acknowledged, count, "sends were acknowledged")
    return watch.rate(count)


def send_called_back(stand: Stand, topic: str, count: int) -> float:
    """``send``; every delivery calls back, which counts the outcomes."""
    outcome = streamproof.Outcome.ACKNOWLEDGED
    acknowledged = 0

    def delivered(delivery: streamproof.Delivery) -> None:
        nonlocal acknowledged
        if delivery.outcome is outcome:
            acknowledged += 1

    with stand.bus.producer() as producer:
        with Stopwatch() as watch:
            for _ in range(count):
                producer.send(topic, VALUE).add_done_callback(delivered)
            producer.flush(60)
        require_all(acknowledged, count, "callbacks came")
    return watch.rate(count)


def send_many(stand: Stand, topic: str, count: int) -> float:
    """``send_many`` of a thousand; every batch's errors are looked at."""
    with stand.bus.producer() as producer:
        batches: list[streamproof.Deliveries] = []
        many: list[streamproof.Outgoing[Any, Any]] = [streamproof.Outgoing(VALUE)] * BATCH
        with Stopwatch() as watch:
            for start in range(0, count, BATCH):
                batches.append(producer.send_many(topic, many[: count - start]))
            producer.flush(60)
            acknowledged = sum(len(batch) for batch in batches if not batch.errors)
        require_all(acknowledged, count, "sends were acknowledged")
    return watch.rate(count)


# -- reading ----------------------------------------------------------------------------------


def bare_loop(consumer: Any, count: int) -> float:
    """``consume(1000)`` to the end, reading key, value and offset. The time runs from the first
    batch on, so that connecting and joining are left out."""
    seen = len(consumer.consume(1, 30.0))
    require_all(seen, 1, "records came at all")
    with Stopwatch() as watch:
        while seen < count:
            # It waits for a full batch or the time-out: the last one is not full.
            messages = consumer.consume(min(BATCH, count - seen), 10.0)
            for message in messages:
                message.key()
                message.value()
                message.offset()
            seen += len(messages)
    return watch.rate(count - 1)


def bare_poll(stand: Stand, topic: str, count: int) -> float:
    """Without a group's progress: every partition assigned by hand."""
    import confluent_kafka

    consumer = stand.bare_consumer(None)
    consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
    try:
        return bare_loop(consumer, count)
    finally:
        consumer.close()


def bare_poll_in_group(stand: Stand, topic: str, count: int) -> float:
    """In a group of its own, its progress stored by the library every five seconds."""
    consumer = stand.bare_consumer(
        uuid.uuid4().hex,
        **{"enable.auto.commit": True, "enable.auto.offset.store": True, "auto.commit.interval.ms": 5000},
    )
    consumer.subscribe([topic])
    try:
        return bare_loop(consumer, count)
    finally:
        consumer.close()


def poll(stand: Stand, topic: str, count: int) -> float:
    """``poll(1000)`` without a group, reading key, value and offset."""
    with stand.bus.consumer(topic) as consumer:
        seen = len(consumer.poll(1, 30.0))
        require_all(seen, 1, "records came at all")
        with Stopwatch() as watch:
            while seen < count:
                records = consumer.poll(BATCH, 10.0)
                for record in records:
                    record.key  # noqa: B018
                    record.value  # noqa: B018
                    record.offset  # noqa: B018
                seen += len(records)
    return watch.rate(count - 1)


def poll_in_group(stand: Stand, topic: str, count: int) -> float:
    """The same in a group of its own; every batch is acknowledged, stored every five seconds."""
    with stand.bus.consumer(topic, group=f"bench-{uuid.uuid4().hex[:12]}") as consumer:
        records = consumer.poll(1, 30.0)
        seen = len(records)
        require_all(seen, 1, "records came at all")
        consumer.ack(records)
        with Stopwatch() as watch:
            while seen < count:
                records = consumer.poll(BATCH, 10.0)
                for record in records:
                    record.key  # noqa: B018
                    record.value  # noqa: B018
                    record.offset  # noqa: B018
                consumer.ack(records)
                seen += len(records)
    return watch.rate(count - 1)


# -- the rows ---------------------------------------------------------------------------------

Loop = Callable[[Stand, str, int], float]


def row(name: str, what: str, beside: str, pair: Pair, target: Target) -> Row:
    """The line of one pair."""
    return Row(name, what, pair.ours, beside, pair.theirs, pair.ratio, target)


def sending(name: str, what: str, loop: Loop, bound: float) -> Callable[[Session], Rows]:
    """A measurement of one way of sending."""

    def measure(session: Session) -> Rows:
        url, count = session.brokers.url("kafka"), session.count(SENT)
        with streamproof.connect(url) as bus:
            stand = Stand(url, bus)
            pair = paired(
                session,
                lambda topic: loop(stand, topic, count),
                lambda topic: bare_send(stand, topic, count),
                stand.topic,
            )
        yield row(name, what, f"{BARE}: produce(…, on_delivery=…)", pair, at_least("ratio", bound))

    return measure


def reading(name: str, what: str, ours: Loop, bare: Loop, beside: str) -> Callable[[Session], Rows]:
    """A measurement of one way of reading."""

    def measure(session: Session) -> Rows:
        url, count = session.brokers.url("kafka"), max(BATCH, session.count(READ) // BATCH * BATCH)
        with streamproof.connect(url) as bus:
            stand = Stand(url, bus)
            with stand.topic() as topic:
                stand.fill(topic, count)
                pair = paired(
                    session,
                    lambda _: ours(stand, topic, count),
                    lambda _: bare(stand, topic, count),
                    lambda: same(topic),
                )
        yield row(name, what, beside, pair, at_least("ratio", 0.85))

    return measure


MEASUREMENTS = {
    "kafka-send": sending("kafka-send", "Kafka: send, every delivery kept and looked at", send_kept, 0.85),
    "kafka-send-callback": sending(
        "kafka-send-callback", "Kafka: send, every delivery calls back", send_called_back, 0.85
    ),
    "kafka-send-many": sending("kafka-send-many", "Kafka: send_many of 1,000", send_many, 0.95),
    "kafka-poll": reading(
        "kafka-poll",
        "Kafka: poll(1000), reading key, value, offset",
        poll,
        bare_poll,
        f"{BARE}: consume(1000), assigned",
    ),
    "kafka-poll-group": reading(
        "kafka-poll-group",
        "Kafka: the same in a group, every batch acknowledged",
        poll_in_group,
        bare_poll_in_group,
        f"{BARE}: consume(1000), auto-commit",
    ),
}
