"""The async consumer without a group: the streams of its topics, each on its own channel."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from streamproof.driver import AsyncAssignmentListener
from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.intake import StreamPart, shown_records
from streamproof.drivers.rabbitmq.procedures import hidden, place_of, shown, watermarks_of
from streamproof.drivers.rabbitmq.refusals import no_progress, not_assigned, out_of_range
from streamproof.drivers.rabbitmq.subscription import Subscription
from streamproof.drivers.rabbitmq.topology import Endpoint, stream_of
from streamproof.drivers.rabbitmq_aio_pika.channels import AioReadingChannel
from streamproof.drivers.rabbitmq_aio_pika.commands import run
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink, wait_for_news
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
        self.channel: AioReadingChannel | None = None
        self.is_attached = False
        self.backoff = Backoff(first_s=_REOPEN_PAUSE_S)


class AioPikaReader:
    """See :class:`~streamproof.driver.AsyncConsumerDriver`. A lost connection is made again and
    reading goes on at the position; nothing is lost or doubled by that, so the listener is not told."""

    def __init__(self, endpoint: Endpoint, definitions: AioDefinitions, options: ConsumerOptions) -> None:
        self._definitions = definitions
        self._options = options
        self._subscription = Subscription(options, definitions.catalogue)
        self._readings: dict[TopicPartition, _Reading] = {}
        self._paused: set[TopicPartition] = set()
        self._serials = count(1)
        self._listener: AsyncAssignmentListener | None = None
        self._turn = 0
        self._seen_version = -1
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing
        self.link = AioLink(endpoint, "reader", endpoint.heartbeat_s, self._up, self._down)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        if self._subscription.missing() is not None or not self._subscription.topics():
            await self._definitions.wait_synced(_left_s(deadline_s))
            self._subscription.require_all()
        self._subscription.require_logs()
        await self.link.open(_left_s(deadline_s))
        self._unwatch = self._definitions.catalogue.watch(self._news.set)
        await self._refresh(is_start=True, deadline_s=deadline_s)

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        deadline_s = time.monotonic() + timeout_s
        is_last = False
        while True:
            if self._definitions.catalogue.version != self._seen_version:
                await self._refresh(is_start=False, deadline_s=deadline_s)
            self._require_open()
            records = self._take(max_records)
            if records:
                self._credit()
                return records
            if is_last:
                return []
            is_last = _left_s(deadline_s) <= 0
            await wait_for_news(self._news, _left_s(deadline_s))
            self._news.clear()

    async def ack(self, records: Sequence[RawRecord]) -> None:
        """Nothing is kept without a group."""

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_progress("commit")

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        raise no_progress("committed")

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        for log in partitions:
            reading = self._reading(log)
            place = await self._place(reading.topic, log, to, _left_s(deadline_s))
            if self._readings.get(log) is not reading:
                raise not_assigned(log)
            reading.part = StreamPart(log, next(self._serials), place)
            await self._reopen(log, reading)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    def assignment(self) -> tuple[TopicPartition, ...]:
        return tuple(sorted(self._readings))

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        return max(0, shown(self._reading(partition).part.place()))

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        deadline_s = time.monotonic() + timeout_s
        found: dict[TopicPartition, Watermarks] = {}
        for log in partitions:
            topic = self._definitions.catalogue.topic(log.topic)
            if topic is None or not 0 <= log.partition < topic.partitions:
                raise UnknownTopic(f"there is no log {log.topic}[{log.partition}]")
            procedure = watermarks_of(stream_of(topic.name, topic.id, log.partition))
            doing = f"asking for the ends of {log.topic}[{log.partition}]"
            found[log] = await run(self.link, procedure, self._definitions.sync, _left_s(deadline_s), doing)
        return found

    async def close(self, timeout_s: float) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._news.set()
        self._unwatch()
        logs = self.assignment()
        try:
            if self._listener is not None and logs:
                await self._listener.on_revoke(None, logs)
        finally:
            self._readings = {}
            await self.link.close(timeout_s)

    # -- inside ----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed")
        error = self.link.error
        if error is not None and not error.retriable:
            raise error

    def _reading(self, log: TopicPartition) -> _Reading:
        reading = self._readings.get(log)
        if reading is None:
            raise not_assigned(log)
        return reading

    async def _place(self, topic: TopicCreated, log: TopicPartition, to: Position, timeout_s: float) -> int:
        """The stream offset of a place."""
        procedure = place_of(stream_of(topic.name, topic.id, log.partition), log, to)
        doing = f"looking up {to} in {log.topic}[{log.partition}]"
        return await run(self.link, procedure, self._definitions.sync, timeout_s, doing)

    async def _refresh(self, is_start: bool, deadline_s: float) -> None:
        """Take up topics that are new, let go of those that are gone."""
        version = self._definitions.catalogue.version
        topics = {topic.name: topic for topic in self._subscription.topics() if topic.has_log}
        gone = {
            log: reading
            for log, reading in self._readings.items()
            if log.topic not in topics or topics[log.topic].id != reading.topic.id
        }
        assert self._listener is not None
        for log, reading in gone.items():
            del self._readings[log]
            self._paused.discard(log)
            if reading.channel is not None:
                self.link.spawn(reading.channel.close())
        if gone:
            await self._listener.on_lost(None, sorted(gone))
        fresh: dict[TopicPartition, _Reading] = {}
        for topic in topics.values():
            for log in self._definitions.catalogue.logs_of(topic.name):
                if log not in self._readings:
                    begin = await self._begin(topic, log, is_start, _left_s(deadline_s))
                    fresh[log] = _Reading(topic, StreamPart(log, next(self._serials), begin))
        if fresh or is_start:
            self._readings.update(fresh)
            positions = {log: max(0, shown(reading.part.position)) for log, reading in fresh.items()}
            await self._listener.on_assign(None, self.assignment(), positions)
            self._open_all(fresh)
        self._seen_version = version

    async def _begin(self, topic: TopicCreated, log: TopicPartition, is_start: bool, timeout_s: float) -> int:
        start = self._options.start
        if not is_start:
            return hidden(0)
        to: Position = "beginning" if start == "earliest" else "end" if start == "latest" else start
        return await self._place(topic, log, to, timeout_s)

    def _take(self, max_records: int) -> list[RawRecord]:
        """Another log is first each time."""
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

    def _credit(self) -> None:
        """Let the server send more in place of what was handed out."""
        for reading in self._readings.values():
            if reading.channel is not None:
                acks = reading.part.credit()
                if acks:
                    reading.channel.acknowledge(acks)

    # -- channels --------------------------------------------------------------------------

    def _up(self) -> None:
        self._open_all(self._readings)
        self._prove()

    def _down(self, error: StreamproofError) -> None:
        for reading in self._readings.values():
            reading.channel = None
            reading.is_attached = False

    def _prove(self) -> None:
        """The connection does what it is for once every log is read."""
        if all(reading.is_attached for reading in self._readings.values()):
            self.link.prove()

    def _open_all(self, readings: dict[TopicPartition, _Reading]) -> None:
        for log, reading in readings.items():
            self.link.spawn(self._reopen(log, reading))

    async def _reopen(self, log: TopicPartition, reading: _Reading, pause_s: float = 0.0) -> None:
        """Read on from the position, on a new channel."""
        former, reading.channel = reading.channel, None
        reading.is_attached = False
        part = reading.part = StreamPart(log, next(self._serials), reading.part.place())
        if former is not None:
            await former.close()
        if pause_s:
            await asyncio.sleep(pause_s)
        if reading.part is not part or self._readings.get(log) is not reading:
            return

        def deliver(tag: int, is_redelivered: bool, message: Message) -> None:
            part.feed(tag, message)
            self._news.set()

        def ended(error: StreamproofError | None) -> None:
            if error is None or isinstance(error, CONNECTION_ENDED) or reading.part is not part:
                return
            pause_s = reading.backoff.fail(time.monotonic())
            # Again and again while a stream is not to be had: telling it once is enough.
            level = logging.WARNING if reading.backoff.failures == 1 else logging.DEBUG
            _log.log(level, "%s[%d]: %s", log.topic, log.partition, error)
            self.link.spawn(self._reopen(log, reading, pause_s))

        stream = stream_of(reading.topic.name, reading.topic.id, log.partition)
        channel = reading.channel = AioReadingChannel(
            self.link, stream, self._options.prefetch, deliver, ended, places=(part.position,)
        )
        try:
            await channel.open()
        except StreamproofError as error:
            ended(error)
            return
        if reading.part is part:
            reading.is_attached = True
            reading.backoff.prove(time.monotonic())
            self._prove()


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _nothing() -> None:
    """There is no watch to end yet."""
