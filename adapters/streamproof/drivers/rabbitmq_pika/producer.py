"""The blocking producer: pipelined confirms over one channel, on its own connection and I/O thread."""

import time
from collections.abc import Callable, Sequence
from itertools import count

from streamproof.core.partitioner import partition_for
from streamproof.deliveries import Deliveries, Delivery
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.errors import unknown_topic
from streamproof.drivers.rabbitmq.publishing import choose_partition, too_large
from streamproof.drivers.rabbitmq.topology import Endpoint
from streamproof.drivers.rabbitmq_pika.buffer import Publish
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.link import left_s
from streamproof.drivers.rabbitmq_pika.sending import Sending
from streamproof.errors import BufferFull, Closed, StreamproofError, TimedOut
from streamproof.options import ProducerOptions
from streamproof.records import Headers, RawOutgoing


class PikaProducer:
    """See :class:`~streamproof.driver.ProducerDriver`."""

    def __init__(self, endpoint: Endpoint, definitions: Definitions, options: ProducerOptions) -> None:
        self._definitions = definitions
        self._sending = Sending(endpoint, definitions.catalogue, options)
        self._buffer = self._sending.buffer
        self._timeout_s = options.delivery_timeout_s
        self._turn = count()
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def open(self, timeout_s: float) -> None:
        """Connect. Raises :class:`Unreachable`, :class:`AccessDenied`."""
        sending = self._sending
        sending.link.open(timeout_s)
        self._unwatch = self._definitions.catalogue.watch(lambda: sending.link.call(sending.forget_places))
        sending.link.call(sending.look)

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> Delivery:
        now_s = time.monotonic()
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            try:
                found = self._look_up(topic, timeout_s)
            except StreamproofError as error:
                return _settled(error)
        if partition is None:
            partition = (
                partition_for(key, found.partitions)
                if key is not None
                else next(self._turn) % found.partitions
            )
        elif not 0 <= partition < found.partitions:
            return _settled(unknown_topic(topic, partition, found.partitions))
        if timestamp_ms is None:
            timestamp_ms = int(time.time() * 1000)
        publish = Publish(found, partition, value, key, headers, timestamp_ms, now_s + self._timeout_s)
        refused = self._refusal(publish)
        if refused is not None:
            publish.settle(refused)
            return publish
        try:
            _, must_wake = self._buffer.put((publish,), now_s + timeout_s, timeout_s)
        except Closed as error:
            publish.settle(error)
            return publish
        if must_wake:
            self._sending.link.call(self._sending.wake)
        return publish

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries:
        now_s = time.monotonic()
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            try:
                found = self._look_up(topic, timeout_s)
            except StreamproofError as error:
                return Deliveries([_settled(error) for _ in records])
        publishes = self._publishes(found, records, now_s + self._timeout_s)
        pending = [publish for publish in publishes if not publish.is_settled]
        while pending:
            try:
                taken, must_wake = self._buffer.put(pending, now_s + timeout_s, timeout_s)
            except (BufferFull, Closed) as error:
                for publish in pending:
                    publish.settle(error)
                break
            pending = pending[taken:]
            if must_wake:
                self._sending.link.call(self._sending.wake)
        return Deliveries(publishes)

    def flush(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        if self._is_closed:
            return
        if not self._buffer.wait_settled(deadline_s, self._sending.tell_floor):
            raise TimedOut(f"{self._buffer.outstanding} records were not settled within {timeout_s:g} s")

    def close(self, timeout_s: float) -> None:
        if self._is_closed:
            return
        deadline_s = time.monotonic() + timeout_s
        self._unwatch()
        try:
            self.flush(timeout_s * 0.8)
        except TimedOut:
            pass
        finally:
            self._is_closed = True
            self._buffer.close()
            self._sending.link.close(max(0.2, left_s(deadline_s)))
            self._sending.end(
                "the producer was closed before RabbitMQ confirmed",
                Closed("the producer was closed before this record was sent"),
            )

    # -- inside ----------------------------------------------------------------------------

    def _look_up(self, topic: str, timeout_s: float) -> TopicCreated:
        self._definitions.wait_synced(timeout_s)
        found = self._definitions.catalogue.topic(topic)
        if found is None:
            raise unknown_topic(topic)
        return found

    def _publishes(self, topic: TopicCreated, records: Sequence[RawOutgoing], due_s: float) -> list[Publish]:
        now_ms = int(time.time() * 1000)
        publishes: list[Publish] = []
        for record in records:
            partition = choose_partition(topic, record.key, record.partition, self._turn)
            publish = Publish(
                topic,
                max(0, partition),
                record.value,
                record.key,
                record.headers,
                now_ms if record.timestamp_ms is None else record.timestamp_ms,
                due_s,
            )
            refused = self._refusal(publish)
            if partition < 0:
                refused = unknown_topic(topic.name, record.partition, topic.partitions)
            if refused is not None:
                publish.settle(refused)
            publishes.append(publish)
        return publishes

    def _refusal(self, publish: Publish) -> StreamproofError | None:
        limits = self._sending.limits
        return None if limits is None else too_large(limits, publish.size, publish.key, publish.headers)


def _settled(error: StreamproofError) -> Delivery:
    delivery = Delivery()
    delivery.settle(error)
    return delivery


def _nothing() -> None:
    """There is no watch to end yet."""
