"""The blocking consumer without a group: the streams of its topics, each on its own channel."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from streamproof.driver import AssignmentListener
from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.codec import read_message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.intake import StreamPart, shown_records
from streamproof.drivers.rabbitmq.procedures import hidden, place_of, shown, watermarks_of
from streamproof.drivers.rabbitmq.refusals import no_progress, not_assigned, out_of_range
from streamproof.drivers.rabbitmq.subscription import Subscription
from streamproof.drivers.rabbitmq.topology import Endpoint, stream_of
from streamproof.drivers.rabbitmq_pika.channels import ReadingChannel
from streamproof.drivers.rabbitmq_pika.commands import run
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.link import Link, left_s
from streamproof.errors import Closed, StreamproofError, UnknownTopic
from streamproof.options import ConsumerOptions
from streamproof.records import Position, RawRecord, TopicPartition, Watermarks

_log = logging.getLogger("streamproof.rabbitmq")

_REOPEN_PAUSE_S = 0.2


class _Reading:
    """One log that is read. Its part is made anew at every seek and for every channel."""

    __slots__ = ("backoff", "channel", "is_attached", "part", "topic")

    def __init__(self, topic: TopicCreated, part: StreamPart) -> None:
        self.topic = topic
        self.part = part
        self.channel: ReadingChannel | None = None
        self.is_attached = False
        self.backoff = Backoff(first_s=_REOPEN_PAUSE_S)


class PikaReader:
    """See :class:`~streamproof.driver.ConsumerDriver`. A lost connection is made again and reading
    goes on at the position; nothing is lost or doubled by that, so the listener is not told."""

    def __init__(self, endpoint: Endpoint, definitions: Definitions, options: ConsumerOptions) -> None:
        self._definitions = definitions
        self._options = options
        self._subscription = Subscription(options, definitions.catalogue)
        self._lock = threading.Condition()
        self._readings: dict[TopicPartition, _Reading] = {}
        self._paused: set[TopicPartition] = set()
        self._serials = count(1)
        self._listener: AssignmentListener | None = None
        self._turn = 0
        self._seen_version = -1
        self._is_waiting = False
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing
        self.link = Link(endpoint, "reader", endpoint.heartbeat_s, self._up, self._down)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def start(self, listener: AssignmentListener, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        self._listener = listener
        if self._subscription.missing() is not None or not self._subscription.topics():
            self._definitions.wait_synced(left_s(deadline_s))
            self._subscription.require_all()
        self._subscription.require_logs()
        self.link.open(left_s(deadline_s))
        self._unwatch = self._definitions.catalogue.watch(self._notify)
        self._refresh(is_start=True, deadline_s=deadline_s)

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._definitions.catalogue.version != self._seen_version:
                self._refresh(is_start=False, deadline_s=deadline_s)
            with self._lock:
                self._require_open()
                records = self._take(max_records)
                if records:
                    self.link.call(self._credit)
                    return records
                left = left_s(deadline_s)
                if left <= 0:
                    return []
                self._is_waiting = True
                try:
                    self._lock.wait(left)
                finally:
                    self._is_waiting = False

    def ack(self, records: Sequence[RawRecord]) -> None:
        """Nothing is kept without a group."""

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_progress("commit")

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        raise no_progress("committed")

    def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        for log in partitions:
            reading = self._reading(log)
            self._move(reading, log, self._place(reading.topic, log, to, left_s(deadline_s)))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            self._paused.difference_update(partitions)
            self._lock.notify_all()

    def assignment(self) -> tuple[TopicPartition, ...]:
        with self._lock:
            return tuple(sorted(self._readings))

    def position(self, partition: TopicPartition, timeout_s: float) -> int:
        reading = self._reading(partition)
        with self._lock:
            return max(0, shown(reading.part.place()))

    def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        deadline_s = time.monotonic() + timeout_s
        found: dict[TopicPartition, Watermarks] = {}
        for log in partitions:
            topic = self._topic(log)
            stream = stream_of(topic.name, topic.id, log.partition)
            found[log] = run(
                self.link,
                watermarks_of(stream),
                self._definitions.sync,
                left_s(deadline_s),
                f"asking for the ends of {log.topic}[{log.partition}]",
            )
        return found

    def close(self, timeout_s: float) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._lock.notify_all()
        self._unwatch()
        listener, logs = self._listener, self.assignment()
        try:
            if listener is not None and logs:
                listener.on_revoke(None, logs)
        finally:
            with self._lock:
                self._readings = {}
            self.link.close(timeout_s)

    # -- on the caller's thread ------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed")
        error = self.link.error
        if error is not None and not error.retriable:
            raise error

    def _notify(self) -> None:
        with self._lock:
            self._lock.notify_all()

    def _reading(self, log: TopicPartition) -> _Reading:
        with self._lock:
            reading = self._readings.get(log)
        if reading is None:
            raise not_assigned(log)
        return reading

    def _topic(self, log: TopicPartition) -> TopicCreated:
        topic = self._definitions.catalogue.topic(log.topic)
        if topic is None or not 0 <= log.partition < topic.partitions:
            raise UnknownTopic(f"there is no log {log.topic}[{log.partition}]")
        return topic

    def _place(self, topic: TopicCreated, log: TopicPartition, to: Position, timeout_s: float) -> int:
        """The stream offset of a place."""
        return run(
            self.link,
            place_of(stream_of(topic.name, topic.id, log.partition), log, to),
            self._definitions.sync,
            timeout_s,
            f"looking up {to} in {log.topic}[{log.partition}]",
        )

    def _refresh(self, is_start: bool, deadline_s: float) -> None:
        """Take up topics that are new, let go of those that are gone."""
        version = self._definitions.catalogue.version
        topics = {topic.name: topic for topic in self._subscription.topics() if topic.has_log}
        with self._lock:
            gone = {
                log: reading
                for log, reading in self._readings.items()
                if log.topic not in topics or topics[log.topic].id != reading.topic.id
            }
            for log in gone:
                del self._readings[log]
                self._paused.discard(log)
            known = set(self._readings)
        assert self._listener is not None
        if gone:
            self.link.call(lambda: self._close_channels(list(gone.values())))
            self._listener.on_lost(None, sorted(gone))
        fresh: dict[TopicPartition, _Reading] = {}
        for topic in topics.values():
            for log in self._definitions.catalogue.logs_of(topic.name):
                if log not in known:
                    begin = self._begin(topic, log, is_start, left_s(deadline_s))
                    fresh[log] = _Reading(topic, StreamPart(log, next(self._serials), begin))
        if fresh or is_start:
            with self._lock:
                self._readings.update(fresh)
                positions = {log: max(0, shown(reading.part.position)) for log, reading in fresh.items()}
            self._listener.on_assign(None, self.assignment(), positions)
            self.link.call(lambda: self._open_all(fresh))
        self._seen_version = version

    def _begin(self, topic: TopicCreated, log: TopicPartition, is_start: bool, timeout_s: float) -> int:
        start = self._options.start
        if not is_start:
            return hidden(0)
        to: Position = "beginning" if start == "earliest" else "end" if start == "latest" else start
        return self._place(topic, log, to, timeout_s)

    def _move(self, reading: _Reading, log: TopicPartition, place: int) -> None:
        with self._lock:
            if self._readings.get(log) is not reading:
                raise not_assigned(log)
            reading.part = StreamPart(log, next(self._serials), place)
        self.link.call(lambda: self._reopen(log, reading))

    def _take(self, max_records: int) -> list[RawRecord]:
        """With the lock held. Another log is first each time."""
        readings = list(self._readings.items())
        if not readings:
            return []
        self._turn += 1
        start = self._turn % len(readings)
        records: list[RawRecord] = []
        for log, reading in readings[start:] + readings[:start]:
            if len(records) >= max_records:
                break
            if log in self._paused:
                continue
            if reading.part.trimmed_to is not None:
                if records:
                    break
                raise out_of_range(log, shown(reading.part.position), shown(reading.part.trimmed_to))
            records.extend(shown_records(log, reading.part.take(max_records - len(records))))
        return records

    # -- on the I/O thread -----------------------------------------------------------------

    def _up(self, connection: Connection) -> None:
        with self._lock:
            readings = dict(self._readings)
        self._open_all(readings)
        self._prove()

    def _prove(self) -> None:
        """The connection does what it is for once every log is read."""
        with self._lock:
            works = all(reading.is_attached for reading in self._readings.values())
        if works:
            self.link.prove()

    def _down(self, error: StreamproofError) -> None:
        with self._lock:
            for reading in self._readings.values():
                reading.channel = None
                reading.is_attached = False

    def _open_all(self, readings: dict[TopicPartition, _Reading]) -> None:
        for log, reading in readings.items():
            self._reopen(log, reading)

    def _close_channels(self, readings: list[_Reading]) -> None:
        for reading in readings:
            if reading.channel is not None:
                reading.channel.close()

    def _reopen(self, log: TopicPartition, reading: _Reading) -> None:
        """Read on from the position, on a new channel."""
        connection = self.link.connection
        if reading.channel is not None:
            reading.channel.close()
            reading.channel = None
        with self._lock:
            if connection is None or self._readings.get(log) is not reading:
                return
            reading.is_attached = False
            part = reading.part = StreamPart(log, next(self._serials), reading.part.place())

        def deliver(tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
            message = read_message(properties, body)
            with self._lock:
                part.feed(tag, message)
                if self._is_waiting and log not in self._paused:
                    self._lock.notify_all()

        def attached() -> None:
            if reading.part is part:
                reading.is_attached = True
                reading.backoff.prove(time.monotonic())
                self._prove()

        def ended(error: StreamproofError | None) -> None:
            if error is None or isinstance(error, CONNECTION_ENDED) or reading.part is not part:
                return
            pause_s = reading.backoff.fail(time.monotonic())
            # Again and again while a stream is not to be had: telling it once is enough.
            level = logging.WARNING if reading.backoff.failures == 1 else logging.DEBUG
            _log.log(level, "%s[%d]: %s", log.topic, log.partition, error)
            self.link.later(pause_s, lambda: self._retry(log, reading, part))

        reading.channel = ReadingChannel(
            connection,
            stream_of(reading.topic.name, reading.topic.id, log.partition),
            self._options.prefetch,
            deliver,
            ended,
            places=(part.position,),
            on_attached=attached,
        )

    def _retry(self, log: TopicPartition, reading: _Reading, part: StreamPart) -> None:
        if reading.part is part and self._readings.get(log) is reading:
            self._reopen(log, reading)

    def _credit(self) -> None:
        """Let the server send more in place of what was handed out."""
        with self._lock:
            credits = [(reading.channel, reading.part.credit()) for reading in self._readings.values()]
        for channel, acks in credits:
            if channel is not None and acks:
                channel.acknowledge(acks)


def _nothing() -> None:
    """There is no watch to end yet."""
