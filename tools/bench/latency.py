"""From the time a record was meant to be sent to its handler, at 10,000 records a second.

The loop is open: a record's intended time does not move when the sender falls behind, so that a
stall counts for every record it held up. Sender and handler are in one process, so that there is
one clock: two threads, or two tasks on one loop.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from struct import Struct

import streamproof
from streamproof_harness.servers import Kind
from tools.bench.rows import Row, at_most, figure
from tools.bench.runs import Incomplete, Rows, Session, require_all

RATE = 10_000
WARM_UP_S = 1.0
SECONDS = 4.0
PARTITIONS = 4
_STAMP = Struct(">d")
_PADDING = bytes(92)
_NAP_S = 0.0002
_PATIENCE_S = 30.0


class Series:
    """The delays of one run, and when it is over."""

    def __init__(self, seconds: float) -> None:
        self.warm_up = int(RATE * min(WARM_UP_S, seconds))
        self.total = self.warm_up + int(RATE * seconds)
        self.delays_s: list[float] = []

    @property
    def is_complete(self) -> bool:
        """Whether every record was handled."""
        return len(self.delays_s) >= self.total

    def handle(self, value: bytes) -> None:
        """The handler: when was this to be sent?"""
        self.delays_s.append(time.perf_counter() - _STAMP.unpack_from(value)[0])

    def quantiles_ms(self) -> tuple[float, float]:
        """p50 and p99 without the warm-up."""
        require_all(len(self.delays_s), self.total, "records were handled")
        measured = sorted(self.delays_s[self.warm_up :])
        return measured[len(measured) // 2] * 1000, measured[len(measured) * 99 // 100] * 1000


def value_due(due_s: float) -> bytes:
    """100 bytes that begin with the intended time."""
    return _STAMP.pack(due_s) + _PADDING


def run_threads(url: str, seconds: float) -> tuple[float, float]:
    """A sending thread, and this one that handles."""
    series = Series(seconds)
    topic = f"bench-{uuid.uuid4().hex[:12]}"
    with streamproof.connect(url) as bus:
        bus.admin().create_topic(topic, PARTITIONS)
        try:
            with bus.producer() as producer, bus.consumer(topic, group=f"{topic}-group") as consumer:
                consumer.wait_assigned()
                sender = threading.Thread(target=send_when_due, args=(producer, topic, series), daemon=True)
                sender.start()
                deadline_s = time.monotonic() + _PATIENCE_S + seconds
                while not series.is_complete:
                    records = consumer.poll(500, 1.0)
                    for record in records:
                        series.handle(record.value)
                    consumer.ack(records)
                    if time.monotonic() > deadline_s:
                        raise Incomplete(f"{len(series.delays_s):,} of {series.total:,} records were handled")
                sender.join(_PATIENCE_S)
        finally:
            bus.admin().delete_topics(topic)
    return series.quantiles_ms()


def send_when_due(producer: streamproof.Producer[bytes, bytes], topic: str, series: Series) -> None:
    """One record every 100 µs, or as many as are due by now."""
    begin_s = time.perf_counter() + 0.01
    number = 0
    while number < series.total:
        due_s = begin_s + number / RATE
        ahead_s = due_s - time.perf_counter()
        if ahead_s > 0:
            time.sleep(max(_NAP_S, ahead_s))
            continue
        producer.send(topic, value_due(due_s), key=b"%d" % (number % 1000))
        number += 1


async def run_tasks(url: str, seconds: float) -> tuple[float, float]:
    """A sending task, and this one that handles."""
    series = Series(seconds)
    topic = f"bench-{uuid.uuid4().hex[:12]}"
    async with await streamproof.aconnect(url) as bus:
        admin = await bus.admin()
        await admin.create_topic(topic, PARTITIONS)
        try:
            async with (
                await bus.producer() as producer,
                await bus.consumer(topic, group=f"{topic}-group") as consumer,
            ):
                await consumer.wait_assigned()
                sender = asyncio.create_task(send_when_due_async(producer, topic, series))
                deadline_s = time.monotonic() + _PATIENCE_S + seconds
                while not series.is_complete:
                    records = await consumer.poll(500, 1.0)
                    for record in records:
                        series.handle(record.value)
                    await consumer.ack(records)
                    if time.monotonic() > deadline_s:
                        raise Incomplete(f"{len(series.delays_s):,} of {series.total:,} records were handled")
                await sender
        finally:
            await admin.delete_topics(topic)
    return series.quantiles_ms()


async def send_when_due_async(
    producer: streamproof.AsyncProducer[bytes, bytes], topic: str, series: Series
) -> None:
    """The same from a task; the loop's timers are good to a millisecond."""
    begin_s = time.perf_counter() + 0.01
    number = 0
    while number < series.total:
        due_s = begin_s + number / RATE
        ahead_s = due_s - time.perf_counter()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
            continue
        await producer.send(topic, value_due(due_s), key=b"%d" % (number % 1000))
        number += 1


def latency(
    name: str, title: str, colour: str, kind: Kind | None, bound_ms: float
) -> Callable[[Session], Rows]:
    """The measurement of one backend in one colour."""

    def measure(session: Session) -> Rows:
        seconds = session.seconds(SECONDS)
        middles, tails = [], []
        for _ in range(session.runs):
            url = f"memory://{uuid.uuid4().hex}" if kind is None else session.brokers.url(kind)
            if colour == "sync":
                middle, tail = run_threads(url, seconds)
            else:
                middle, tail = asyncio.run(run_tasks(url, seconds))
            middles.append(middle)
            tails.append(tail)
        yield Row(
            name,
            f"{title}: intended send to handler at {RATE:,}/s, {colour}, p50",
            figure(" ms", middles),
            "p99",
            figure(" ms", tails),
            target=at_most("reached", bound_ms),
        )

    return measure


_BACKENDS: list[tuple[str, str, Kind | None, float]] = [
    ("memory", "In memory", None, 1.0),
    ("kafka", "Kafka", "kafka", 10.0),
    ("rabbitmq", "RabbitMQ", "rabbitmq", 10.0),
]

MEASUREMENTS = {
    f"latency-{name}-{colour}": latency(f"latency-{name}-{colour}", title, colour, kind, bound_ms)
    for name, title, kind, bound_ms in _BACKENDS
    for colour in ("sync", "async")
}
