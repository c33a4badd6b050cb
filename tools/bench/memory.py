"""The in-memory backend: keyed records of 100 bytes in and out of eight partitions."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamproof
from tools.bench.rows import Row, at_least, figure
from tools.bench.runs import Rows, Session, Stopwatch, require_all

PARTITIONS = 8
BATCH = 1000
VALUE = bytes(100)
RECORDS = 1_000_000
KEYS = (10_000, 1_000_000)

Outgoing = streamproof.Outgoing[bytes, bytes]


def outgoing(count: int, distinct: int) -> list[Outgoing]:
    """Keyed records; every key is an object of its own, as an application would make it."""
    return [Outgoing(VALUE, b"device-%07d" % (number % distinct)) for number in range(count)]


@contextmanager
def cluster() -> Iterator[tuple[streamproof.Bus, str]]:
    """An empty one, with one topic."""
    with streamproof.connect(f"memory://bench-{uuid.uuid4().hex}") as bus:
        bus.admin().create_topic("bench", PARTITIONS)
        yield bus, "bench"


def send_many(bus: streamproof.Bus, topic: str, records: list[Outgoing]) -> float:
    """In batches of a thousand; every batch's errors are looked at."""
    with bus.producer() as producer:
        acknowledged = 0
        with Stopwatch() as watch:
            for start in range(0, len(records), BATCH):
                deliveries = producer.send_many(topic, records[start : start + BATCH])
                if not deliveries.errors:
                    acknowledged += len(deliveries)
        require_all(acknowledged, len(records), "records were taken")
    return watch.rate(len(records))


def send(bus: streamproof.Bus, topic: str, records: list[Outgoing]) -> float:
    """One by one; every outcome is looked at."""
    outcome = streamproof.Outcome.ACKNOWLEDGED
    with bus.producer() as producer:
        acknowledged = 0
        with Stopwatch() as watch:
            for record in records:
                if producer.send(topic, record.value, key=record.key).outcome is outcome:
                    acknowledged += 1
        require_all(acknowledged, len(records), "records were taken")
    return watch.rate(len(records))


def consume(bus: streamproof.Bus, topic: str, count: int) -> float:
    """As the only member of a group: poll(1000), read key, value and offset, acknowledge the batch,
    commit."""
    with bus.consumer(topic, group="bench") as consumer:
        consumer.wait_assigned()
        seen = 0
        with Stopwatch() as watch:
            while seen < count:
                records = consumer.poll(BATCH, 10.0)
                for record in records:
                    record.key  # noqa: B018
                    record.value  # noqa: B018
                    record.offset  # noqa: B018
                consumer.ack(records)
                consumer.commit()
                seen += len(records)
        stored = consumer.committed()
        require_all(sum(offset or 0 for offset in stored.values()), count, "records were committed")
    return watch.rate(count)


def sending(
    name: str, what: str, loop: Callable[[streamproof.Bus, str, list[Outgoing]], float], bound: float | None
) -> Callable[[Session], Rows]:
    """A measurement of one way of sending."""

    def measure(session: Session) -> Rows:
        for distinct in KEYS:
            records = outgoing(session.count(RECORDS), distinct)
            rates = []
            for _ in range(session.runs):
                with cluster() as (bus, topic):
                    rates.append(loop(bus, topic, records))
            target = None if bound is None else at_least("reached", bound)
            yield Row(f"{name}-{distinct}", f"{what}, {distinct:,} keys", figure("/s", rates), target=target)

    return measure


def consuming(session: Session) -> Rows:
    """The measurement of reading."""
    for distinct in KEYS:
        records = outgoing(session.count(RECORDS), distinct)
        rates = []
        for _ in range(session.runs):
            with cluster() as (bus, topic):
                send_many(bus, topic, records)
                rates.append(consume(bus, topic, len(records)))
        yield Row(
            f"memory-poll-{distinct}",
            f"In memory: poll(1000), ack and commit in a group, {distinct:,} keys",
            figure("/s", rates),
            target=at_least("reached", 1_000_000),
        )


MEASUREMENTS = {
    "memory-send-many": sending("memory-send-many", "In memory: send_many of 1,000", send_many, 1_000_000),
    "memory-send": sending("memory-send", "In memory: send", send, None),
    "memory-poll": consuming,
}
