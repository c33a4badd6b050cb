"""pika alone: publishing with confirms, pipelined and one by one, and reading.

The topology is the one that streamproof declares: a direct exchange with one queue a partition,
a quorum queue with a single active consumer or a stream, with the arguments it gives them.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika

from streamproof.drivers.rabbitmq.topology import group_queue_arguments, stream_arguments, version_of
from tools.bench.runs import Stopwatch, require_all

PARTITIONS = 4
VALUE = bytes(100)
WINDOW = 20_000
"""Publishes without a confirm at a time; as many as streamproof allows itself."""
TURN = 500
"""Publishes before the loop looks at the socket again."""
PREFETCH = 1000
_PATIENCE_S = 60.0


def parameters(url: str) -> Any:
    """The address as pika takes it, without streamproof's own options."""
    return pika.URLParameters(url.partition("?")[0])


def persistent() -> Any:
    """The properties of every message here."""
    return pika.BasicProperties(delivery_mode=2)  # type: ignore[no-untyped-call]


def queues_of(exchange: str) -> list[str]:
    """One a partition."""
    return [f"{exchange}/{partition}" for partition in range(PARTITIONS)]


@contextmanager
def topology(url: str, is_stream: bool) -> Iterator[str]:
    """An exchange with its queues, gone afterwards."""
    exchange = f"bench-{uuid.uuid4().hex[:12]}"
    with pika.BlockingConnection(parameters(url)) as connection:
        channel = connection.channel()
        version = version_of(connection._impl.server_properties)
        channel.exchange_declare(exchange, "direct", durable=True)
        arguments = stream_arguments() if is_stream else group_queue_arguments(version)
        for partition, queue in enumerate(queues_of(exchange)):
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.queue_bind(queue, exchange, str(partition))
    try:
        yield exchange
    finally:
        with pika.BlockingConnection(parameters(url)) as connection:
            channel = connection.channel()
            for queue in queues_of(exchange):
                channel.queue_delete(queue)
            channel.exchange_delete(exchange)


class _Loop:
    """A ``SelectConnection`` that does one thing on this thread, timed."""

    def __init__(self, url: str, count: int) -> None:
        self.count = count
        self.watch = Stopwatch()
        self.failure = ""
        self.connection: Any = pika.SelectConnection(
            parameters(url),
            on_open_callback=self.connected,
            on_open_error_callback=lambda _, error: self.fail(repr(error)),
            on_close_callback=lambda *_: self.connection.ioloop.stop(),
        )

    def run(self) -> float:
        """How many a second."""
        self.connection.ioloop.call_later(_PATIENCE_S, lambda: self.fail("it took too long"))
        self.connection.ioloop.start()
        if self.failure:
            raise RuntimeError(f"pika alone: {self.failure}")
        return self.watch.rate(self.count)

    def connected(self, connection: Any) -> None:
        """The connection is there."""
        connection.channel(on_open_callback=self.opened)

    def opened(self, channel: Any) -> None:
        """The channel is there."""
        raise NotImplementedError

    def finish(self) -> None:
        """Done."""
        self.watch.stop()
        self.connection.close()

    def fail(self, why: str) -> None:
        """Not to be done."""
        self.failure = why
        if self.connection.is_open:
            self.connection.close()
        else:
            self.connection.ioloop.stop()


class _Publishing(_Loop):
    """Confirmed publishes, pipelined: every tag is remembered until its confirm comes."""

    def __init__(self, url: str, exchange: str, count: int) -> None:
        self.exchange = exchange
        self.sent = 0
        self.confirmed = 0
        self.outstanding: set[int] = set()
        self.lowest = 1
        self.is_planned = False
        self.properties = persistent()
        super().__init__(url, count)

    def opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(lambda *_: self.fail("a message came back"))
        channel.confirm_delivery(self.answered, callback=lambda _: self.begin())

    def begin(self) -> None:
        self.watch.start()
        self.publish()

    def publish(self) -> None:
        self.is_planned = False
        channel, exchange, properties = self.channel, self.exchange, self.properties
        for _ in range(min(TURN, self.count - self.sent, WINDOW - len(self.outstanding))):
            channel.basic_publish(exchange, str(self.sent % PARTITIONS), VALUE, properties, mandatory=True)
            self.sent += 1
            self.outstanding.add(self.sent)
        self.plan()

    def plan(self) -> None:
        """Go on after what the socket has for us."""
        if not self.is_planned and self.sent < self.count and len(self.outstanding) < WINDOW:
            self.is_planned = True
            self.connection.ioloop.call_later(0, self.publish)

    def answered(self, frame: Any) -> None:
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            self.fail(f"the answer was {method}")
            return
        outstanding, tag = self.outstanding, method.delivery_tag
        if method.multiple:
            before = len(outstanding)
            while self.lowest <= tag:
                outstanding.discard(self.lowest)
                self.lowest += 1
            self.confirmed += before - len(outstanding)
        elif tag in outstanding:
            outstanding.remove(tag)
            self.confirmed += 1
        if self.confirmed == self.count:
            self.finish()
        else:
            self.plan()


def publish(url: str, exchange: str, count: int) -> float:
    """Pipelined, the fastest that pika does."""
    return _Publishing(url, exchange, count).run()


def publish_one_by_one(url: str, exchange: str, count: int) -> float:
    """``BlockingChannel.basic_publish`` after ``confirm_delivery``: each waits for its confirm."""
    properties = persistent()
    with pika.BlockingConnection(parameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        with Stopwatch() as watch:
            for number in range(count):
                channel.basic_publish(exchange, str(number % PARTITIONS), VALUE, properties, mandatory=True)
    return watch.rate(count)


class _Reading(_Loop):
    """Reads every queue, and acknowledges every 500 messages. The time runs from the first on."""

    def __init__(self, url: str, exchange: str, count: int, is_stream: bool) -> None:
        self.queues = queues_of(exchange)
        self.arguments = {"x-stream-offset": "first"} if is_stream else None
        self.seen = 0
        self.read = 0
        super().__init__(url, count)

    def opened(self, channel: Any) -> None:
        channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _: self.consume(channel))

    def consume(self, channel: Any) -> None:
        for queue in self.queues:
            channel.basic_consume(queue, self.taken, arguments=self.arguments)

    def taken(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if not self.seen:
            self.watch.start()
        self.seen += 1
        self.read += len(body)
        if self.seen == self.count:
            channel.basic_ack(method.delivery_tag, True)
            self.finish()
        elif self.seen % TURN == 0:
            channel.basic_ack(method.delivery_tag, True)


def read(url: str, exchange: str, count: int, is_stream: bool) -> float:
    """``basic_consume`` in the loop of a ``SelectConnection``."""
    reading = _Reading(url, exchange, count, is_stream)
    rate = reading.run()
    require_all(reading.read, count * len(VALUE), "bytes were read")
    return rate
