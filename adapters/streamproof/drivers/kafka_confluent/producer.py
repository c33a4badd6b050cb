"""Sending over confluent-kafka."""

import logging
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from streamproof.checks import require_topic_name
from streamproof.deliveries import Deliveries, Delivery
from streamproof.drivers.kafka.errors import send_error
from streamproof.drivers.kafka.reports import KafkaDeliveries, KafkaDelivery, ReportPump, delivery_class
from streamproof.drivers.kafka_confluent.client import (
    KafkaError,
    KafkaException,
    Producer,
    QuietProducer,
    Trouble,
    await_brokers,
    let_go,
    made,
    native_error,
)
from streamproof.errors import BufferFull, Closed, StreamproofError, TimedOut, UnknownTopic, Unsupported
from streamproof.options import ProducerOptions
from streamproof.records import Headers, RawOutgoing
from streamproof.url import Address

_log = logging.getLogger("streamproof.kafka")

_ANY = -1
"""The library's word for a partition that it is to choose."""

_CHUNK = 1000
"""Records of a batch between two looks at whether reports are due."""

_PURGE_S = 5.0
"""Ample time for what happens in this process alone."""

_LEAST_S = 0.5
"""A close whose time went into flushing still lets the client's threads end."""

_Arguments = tuple[str, bytes | None, bytes | None, Headers, int | None, int | None]

_NOT_HERE = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
_SLICE_S = 0.05


class ConfluentProducer:
    """See :class:`~streamproof.driver.ProducerDriver`.

    ``flush`` waits for records of other threads that came after it, too. Timestamp 0 is refused:
    the library takes it for "now".
    """

    _library: type[Producer] = QuietProducer

    def __init__(
        self,
        settings: Mapping[str, object],
        options: ProducerOptions,
        closed: "Callable[[ConfluentProducer], None]",
    ) -> None:
        self._closed = closed
        self._trouble = Trouble()
        self.native: Producer = made(self._library, settings, self._trouble)
        self._produce = self.native.produce
        self._delivery_timeout_s = options.delivery_timeout_s
        self._pump = ReportPump(self.native.poll, self.native.__len__, self._explained)
        self._delivery = delivery_class(self._pump)
        self._closing = threading.Lock()
        self._is_closed = False

    def connect(self, address: Address, timeout_s: float) -> None:
        """Wait until a broker answers. Raises :class:`Unreachable`, :class:`AccessDenied`.

        Left to the first send, it would take half a second longer: librdkafka asks for the id of an
        idempotent producer before it knows the brokers, and then again only after 500 ms.
        """
        await_brokers(self.native, self._trouble, address, timeout_s)

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
        """See :meth:`~streamproof.driver.AsyncProducerDriver.send`. From any thread."""
        if self._pump.is_due:
            self._pump.attend()
        delivery = self._delivery(topic)
        record = topic, value, key, headers, partition, timestamp_ms
        try:
            self._produce_placed(*record, delivery)
        except Exception as refusal:
            self._retry_or_refuse(refusal, delivery, record, timeout_s)
        return delivery  # type: ignore[return-value]

    def plain_send(self, otherwise: Callable[..., Delivery]) -> Callable[..., Delivery]:
        """See :class:`~streamproof.driver.ProducerDriver`. One call a record, so no line too many."""
        pump, delivery_of = self._pump, self._delivery

        def send(topic: str, value: Any, *, key: Any = None, **more: Any) -> Any:
            if (
                more
                or (type(value) is not bytes and value is not None)
                or (key is not None and type(key) is not bytes)
                or type(topic) is not str
                or not topic
            ):
                return otherwise(topic, value, key=key, **more)
            if pump.is_due:
                pump.attend()
            delivery = delivery_of(topic)
            try:
                self._produce(topic, value, key, _ANY, delivery)
            except Exception:
                # Not taken, for whatever reason: there it is told, or overcome.
                return otherwise(topic, value, key=key)
            return delivery

        return send

    def _produce_placed(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        delivery: KafkaDelivery,
    ) -> None:
        """``produce`` with all it can take."""
        if partition is not None and partition < 0:
            raise UnknownTopic(f"{topic} has no partition {partition}: partitions count from 0")
        if timestamp_ms == 0:
            raise Unsupported(
                "a record at timestamp 0 cannot be sent with this client, which takes 0 for now: use 1"
            )
        place = _ANY if partition is None else partition
        # Positional, in the library's order: the last three are on_delivery, timestamp, headers.
        self._produce(
            topic, value, key, place, delivery, None, timestamp_ms or 0, list(headers) if headers else None
        )

    def _retry_or_refuse(
        self, refusal: Exception, delivery: KafkaDelivery, record: _Arguments, timeout_s: float
    ) -> None:
        """What to do when the library did not take a record: wait for room, or look once more
        whether the topic is there (what it remembers may be minutes old). Nothing was sent yet."""
        deadline = time.monotonic() + timeout_s
        has_looked = False
        while True:
            if isinstance(refusal, BufferError):
                self._await_room(deadline, timeout_s)
            elif not has_looked and self._is_outdated(refusal):
                has_looked = True
                self._look_up(record[0], deadline)
            else:
                delivery.settle(self._refused(refusal, record[0]))
                return
            try:
                self._produce_placed(*record, delivery)
            except Exception as again:
                refusal = again
            else:
                return

    def _await_room(self, deadline: float, timeout_s: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or self._pump.is_inside:
            raise BufferFull(
                f"the send buffer stayed full for {timeout_s} s: wait for deliveries, "
                "raise buffer_records, or check whether the broker takes records at all"
            )
        self._pump.serve(min(left, _SLICE_S), min(left, _SLICE_S))

    def _is_outdated(self, refusal: Exception) -> bool:
        is_native = isinstance(refusal, KafkaException)
        return is_native and native_error(refusal).code() in _NOT_HERE and not self._pump.is_inside

    def _look_up(self, topic: str, deadline: float) -> None:
        left = min(5.0, deadline - time.monotonic())
        if left > 0:
            try:
                self.native.list_topics(topic, timeout=left)
            except KafkaException as cause:
                _log.debug("could not look %s up: %s", topic, cause)

    def _refused(self, refusal: Exception, topic: str) -> StreamproofError:
        """The outcome of a record that the library did not take: it was never sent."""
        if isinstance(refusal, StreamproofError):
            return refusal
        if isinstance(refusal, KafkaException):
            error = native_error(refusal)
            return send_error(error.code(), topic, error.str(), refusal)
        if self._is_closed:
            return Closed("the producer is closed: make a new one")
        require_topic_name(topic)
        raise refusal

    def _explained(self, error: KafkaError, topic: str) -> StreamproofError:
        """The outcome of a record whose report is an error."""
        was_first = not self._trouble.is_within(self._delivery_timeout_s)
        return send_error(error.code(), topic, error.str(), KafkaException(error), was_first=was_first)

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries:
        """See :meth:`~streamproof.driver.AsyncProducerDriver.send_many`. From any thread."""
        if not any(map(_is_placed, records)):
            values, keys = [record.value for record in records], [record.key for record in records]
            return self.plain_send_many(topic, values, keys, timeout_s)
        every = [_arguments(topic, record) for record in records]

        def produce(begin: int, end: int, deliveries: Iterator[KafkaDelivery]) -> None:
            for record, delivery in zip(every[begin:end], deliveries, strict=True):
                self._produce_placed(*record, delivery)

        return self._send_all(topic, every.__getitem__, len(every), produce, timeout_s)

    def plain_send_many(
        self,
        topic: str,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        timeout_s: float,
    ) -> Deliveries:
        """See :class:`~streamproof.driver.ProducerDriver`."""

        def produce(begin: int, end: int, deliveries: Iterator[KafkaDelivery]) -> None:
            # This loop runs inside of C: one in Python costs half as much as the calls in it.
            chunk = map(
                self._produce, repeat(topic), values[begin:end], keys[begin:end], repeat(_ANY), deliveries
            )
            deque(chunk, maxlen=0)

        def arguments(number: int) -> _Arguments:
            return topic, values[number], keys[number], (), None, None

        return self._send_all(topic, arguments, len(values), produce, timeout_s)

    def _send_all(
        self,
        topic: str,
        record: Callable[[int], _Arguments],
        count: int,
        produce: Callable[[int, int, Iterator[KafkaDelivery]], None],
        timeout_s: float,
    ) -> Deliveries:
        """``produce(begin, end, deliveries)`` of all records, in chunks, each of which ends where the
        library refuses a record."""
        deadline = time.monotonic() + timeout_s
        deliveries = list(map(self._delivery, repeat(topic, count)))
        taken = 0
        while taken < count:
            if self._pump.is_due:
                self._pump.attend()
            end = min(taken + _CHUNK, count)
            rest = iter(deliveries[taken:end])
            try:
                produce(taken, end, rest)
                taken = end
                continue
            except Exception as cause:
                refusal = cause
            taken = end - operator.length_hint(rest) - 1
            try:
                left = deadline - time.monotonic()
                self._retry_or_refuse(refusal, deliveries[taken], record(taken), left)
            except BufferFull as full:
                for delivery in deliveries[taken:]:
                    delivery.settle(full)
                break
            taken += 1
        return KafkaDeliveries(deliveries)  # type: ignore[arg-type]

    def flush(self, timeout_s: float) -> None:
        """See :meth:`~streamproof.driver.AsyncProducerDriver.flush`."""
        self._pump.refuse_inside("flush()")
        if not self._is_flushed(timeout_s):
            raise TimedOut(
                f"{len(self.native)} records have no outcome after {timeout_s} s; they are still under way"
            )

    def _is_flushed(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while len(self.native):
            left = min(_SLICE_S, deadline - time.monotonic())
            if left <= 0:
                return False
            self._pump.serve_by(self.native.flush, left, left)
        return True

    def close(self, timeout_s: float) -> None:
        """See :meth:`~streamproof.driver.AsyncProducerDriver.close`."""
        self._pump.refuse_inside("close()")
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        deadline = time.monotonic() + timeout_s
        self._produce = _refuse
        if not self._is_flushed(timeout_s):
            # What is given up is reported as such; those reports are local, and come at once.
            self.native.purge(blocking=False)
            self._is_flushed(_PURGE_S)
        self._pump.stop(_PURGE_S)
        let_go([self.native], max(_LEAST_S, deadline - time.monotonic()), "producer")
        self._closed(self)


def _refuse(*_: object) -> None:
    raise Closed("the producer is closed: make a new one")


def _is_placed(record: RawOutgoing) -> bool:
    return record.partition is not None or record.timestamp_ms is not None or bool(record.headers)


def _arguments(topic: str, record: RawOutgoing) -> _Arguments:
    return topic, record.value, record.key, record.headers, record.partition, record.timestamp_ms
