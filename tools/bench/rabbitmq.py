"""RabbitMQ from threads: streamproof beside pika alone, on quorum queues and on streams."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamproof
from tools.bench import rabbitmq_bare
from tools.bench.rabbitmq_bare import PARTITIONS, VALUE
from tools.bench.rows import Row, Target, at_least
from tools.bench.runs import Pair, Rows, Session, Stopwatch, paired, require_all

BATCH = 1000
SENT = 50_000
READ = 50_000
ONE_BY_ONE = 2_000
GROUP = "bench"
BARE = "pika"


class Stand:
    """One broker, and one bus to it: with logs (streams), or with groups' quorum queues alone."""

    def __init__(self, url: str, is_stream: bool) -> None:
        self.url = url
        self.is_stream = is_stream
        joint = "&" if "?" in url else "?"
        self.bus = streamproof.connect(f"{url}{joint}log={'on' if is_stream else 'off'}")

    @contextmanager
    def topic(self) -> Iterator[str]:
        """A topic of its own, gone afterwards; without a log it has the queues of one group."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        admin = self.bus.admin()
        admin.create_topic(name, PARTITIONS)
        try:
            if not self.is_stream:
                with self.bus.consumer(name, group=GROUP, start="latest") as consumer:
                    consumer.wait_assigned()
            yield name
        finally:
            admin.delete_topics(name)

    def __enter__(self) -> "Stand":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bus.close()


def publish(stand: Stand, count: int) -> float:
    """``send``; every delivery is kept, and its outcome looked at."""
    outcome = streamproof.Outcome.ACKNOWLEDGED
    with stand.topic() as topic, stand.bus.producer() as producer:
        deliveries: list[streamproof.Delivery] = []
        with Stopwatch() as watch:
            for _ in range(count):
                deliveries.append(producer.send(topic, VALUE))
            producer.flush(60)
            acknowledged = sum(delivery.outcome is outcome for delivery in deliveries)
        require_all(acknowledged, count, "publishes were confirmed")
    return watch.rate(count)


def publish_many(stand: Stand, count: int) -> float:
    """``send_many`` of a thousand; every batch's errors are looked at."""
    with stand.topic() as topic, stand.bus.producer() as producer:
        batches: list[streamproof.Deliveries] = []
        many: list[streamproof.Outgoing[Any, Any]] = [streamproof.Outgoing(VALUE)] * BATCH
        with Stopwatch() as watch:
            for start in range(0, count, BATCH):
                batches.append(producer.send_many(topic, many[: count - start]))
            producer.flush(60)
            acknowledged = sum(len(batch) for batch in batches if not batch.errors)
        require_all(acknowledged, count, "publishes were confirmed")
    return watch.rate(count)


def read(stand: Stand, count: int) -> float:
    """``poll(1000)`` and ``ack`` of what it gave, from the first batch on. A stream is read without
    a group, quorum queues as the group's only member."""
    group = None if stand.is_stream else GROUP
    with stand.topic() as topic:
        with stand.bus.producer() as producer:
            producer.send_many(topic, [streamproof.Outgoing(VALUE)] * count).result(60)
        with stand.bus.consumer(topic, group=group) as consumer:
            seen = before = read = 0
            with Stopwatch() as watch:
                while seen < count:
                    records = consumer.poll(BATCH, 30.0)
                    if not seen:
                        before = len(records)
                        watch.start()
                    for record in records:
                        read += len(record.value)
                    consumer.ack(records)
                    seen += len(records)
                    require_all(min(1, len(records)), 1, "records came in time")
            require_all(read, count * len(VALUE), "bytes were read")
    return watch.rate(count - before)


def bare_publish(stand: Stand, count: int) -> float:
    """pika with pipelined confirms."""
    with rabbitmq_bare.topology(stand.url, stand.is_stream) as exchange:
        return rabbitmq_bare.publish(stand.url, exchange, count)


def bare_publish_one_by_one(stand: Stand, count: int) -> float:
    """pika's blocking channel; fewer messages, or it would take minutes."""
    with rabbitmq_bare.topology(stand.url, stand.is_stream) as exchange:
        return rabbitmq_bare.publish_one_by_one(stand.url, exchange, max(1, count * ONE_BY_ONE // SENT))


def bare_read(stand: Stand, count: int) -> float:
    """pika consuming what pika published."""
    with rabbitmq_bare.topology(stand.url, stand.is_stream) as exchange:
        rabbitmq_bare.publish(stand.url, exchange, count)
        return rabbitmq_bare.read(stand.url, exchange, count, stand.is_stream)


Loop = Callable[[Stand, int], float]


@contextmanager
def nowhere() -> Iterator[str]:
    """Each side has a topology of its own."""
    yield ""


def compared(
    name: str, what: str, is_stream: bool, ours: Loop, bare: Loop, beside: str, target: Target | None
) -> Callable[[Session], Rows]:
    """A measurement of one way of publishing or reading."""

    def measure(session: Session) -> Rows:
        url, count = session.brokers.url("rabbitmq"), session.count(SENT)
        with Stand(url, is_stream) as stand:
            pair: Pair = paired(session, lambda _: ours(stand, count), lambda _: bare(stand, count), nowhere)
        yield Row(name, what, pair.ours, f"{BARE}: {beside}", pair.theirs, pair.ratio, target)

    return measure


_PIPELINED = "SelectConnection, pipelined confirms"
_READING = "SelectConnection, basic_consume"
_TARGET = at_least("ratio", 0.8)

_ROWS = [
    ("publish-quorum", "RabbitMQ: confirmed send, quorum queues", False, publish, bare_publish, _PIPELINED),
    ("publish-stream", "RabbitMQ: confirmed send, streams", True, publish, bare_publish, _PIPELINED),
    (
        "publish-many-quorum",
        "RabbitMQ: send_many, quorum queues",
        False,
        publish_many,
        bare_publish,
        _PIPELINED,
    ),
    ("publish-many-stream", "RabbitMQ: send_many, streams", True, publish_many, bare_publish, _PIPELINED),
    ("read-quorum", "RabbitMQ: poll and ack in a group, quorum queues", False, read, bare_read, _READING),
    ("read-stream", "RabbitMQ: poll without a group, streams", True, read, bare_read, _READING),
]

MEASUREMENTS = {
    f"rabbitmq-{name}": compared(f"rabbitmq-{name}", what, is_stream, ours, bare, beside, _TARGET)
    for name, what, is_stream, ours, bare, beside in _ROWS
}
MEASUREMENTS["rabbitmq-publish-one-by-one"] = compared(
    "rabbitmq-publish-one-by-one",
    "RabbitMQ: confirmed send, quorum queues",
    False,
    publish,
    bare_publish_one_by_one,
    "BlockingConnection, one confirm at a time",
    None,
)
