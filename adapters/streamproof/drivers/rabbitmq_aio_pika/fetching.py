"""What an async consumer of a group reads: channels of the logs it holds, acks, recovery."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable
from functools import partial
from itertools import count

from streamproof.core.membership_member import Member
from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.intake import GroupLog, QueuePart, StreamPart
from streamproof.drivers.rabbitmq.procedures import open_group
from streamproof.drivers.rabbitmq.subscription import Subscription, inner_counts, split_inner
from streamproof.drivers.rabbitmq.topology import Endpoint, group_queue_of, stream_of
from streamproof.drivers.rabbitmq_aio_pika.channels import AioReadingChannel
from streamproof.drivers.rabbitmq_aio_pika.commands import run
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink
from streamproof.drivers.rabbitmq_aio_pika.membership import AioMembership
from streamproof.errors import StreamproofError, UnknownTopic, Unsupported
from streamproof.options import ConsumerOptions
from streamproof.records import TopicPartition

_log = logging.getLogger("streamproof.rabbitmq")

_REOPEN_PAUSE_S = 0.2
"""Before a log is opened again whose channel failed: its topic may be about to be deleted. It doubles
while that goes on."""

_HEARTBEATS_A_SESSION = 3
_OPEN_GROUP_S = 60.0


class AioGroupFetching:
    """The logs that are held, and their channels. Logs are named as the group's log names them."""

    def __init__(self, endpoint: Endpoint, definitions: AioDefinitions, options: ConsumerOptions) -> None:
        assert options.group is not None
        self.subscription = Subscription(options, definitions.catalogue)
        self.member = Member({}, options.session_timeout_s, options.max_poll_interval_s, time.monotonic())
        self.logs: dict[TopicPartition, GroupLog] = {}
        self.news = asyncio.Event()
        self.is_polling = False
        self._group = options.group
        self._options = options
        self._definitions = definitions
        self._serials = count(1)
        self._channels: dict[int, AioReadingChannel] = {}
        self._attached: set[int] = set()
        """Serial numbers of the parts that the server sends records of."""
        self._backoffs: dict[TopicPartition, Backoff] = {}
        self._pauses_s: dict[TopicPartition, float] = {}
        """Before logs that failed are opened again."""
        self._opening: set[str] = set()
        self._set_up = Backoff(first_s=_REOPEN_PAUSE_S)
        self._is_begun = False
        self._is_flush_planned = False
        self._ticker: asyncio.TimerHandle | None = None
        heartbeat_s = max(1, int(options.session_timeout_s / _HEARTBEATS_A_SESSION))
        self.link = AioLink(
            endpoint,
            f"consumer of {options.group}",
            min(endpoint.heartbeat_s, heartbeat_s),
            self._up,
            self._down,
            lambda: not self.member.is_idle(time.monotonic()),
        )
        self._membership = AioMembership(
            self.link,
            self.member,
            options.group,
            options.client_id or "streamproof",
            definitions.sync,
            self._changed,
        )

    def begin(self) -> None:
        """The group is set up: become a member."""
        self._is_begun = True
        if self.link.connection is not None:
            self._membership.begin()
        self._tick()
        self.look_at_topics()

    def end(self) -> None:
        """Nothing begins any more."""
        self._is_begun = False
        if self._ticker is not None:
            self._ticker.cancel()

    def plan_flush(self) -> None:
        """Send the acknowledgements that wait, soon."""
        if not self._is_flush_planned:
            self._is_flush_planned = True
            self.link.soon(self._flush)

    def new_log(self, inner: TopicPartition) -> GroupLog:
        """The books of a log that was just assigned."""
        log, topic_id = split_inner(inner)
        opened = self._definitions.catalogue.opened(self._group, topic_id)
        backlog = opened.backlog.get(inner.partition) if opened is not None else None
        return GroupLog(log, backlog, self.member.state.progress.get(inner), self._serials)

    def open_logs(self, opened: Iterable[tuple[TopicPartition, GroupLog]]) -> None:
        """Begin to read logs."""
        for inner, log in opened:
            self.link.spawn(self._open(inner, log, self._pauses_s.pop(inner, 0.0)))

    async def let_go(self, closed: Iterable[tuple[TopicPartition, GroupLog]]) -> None:
        """Stop reading logs: tell the server what was acknowledged, close their channels, then tell
        the group."""
        await asyncio.gather(*(self._let_go(inner, log) for inner, log in closed))

    def append(self) -> None:
        """Append what the member has to tell its group."""
        self._membership.append()

    async def leave(self) -> None:
        """Leave the group; everything was let go of."""
        await self._membership.leave()

    def look_at_topics(self) -> None:
        """The definitions changed: set the group up on topics that are new, then subscribe."""
        if not self._is_begun or self.link.connection is None:
            return
        ready: list[TopicCreated] = []
        for topic in self.subscription.topics():
            if self._definitions.catalogue.opened(self._group, topic.id) is not None:
                ready.append(topic)
            elif topic.id not in self._opening:
                self._opening.add(topic.id)
                self.link.spawn(self._open_group(topic))
        self.member.subscribe(inner_counts(ready))
        self._membership.append()

    # -- inside ----------------------------------------------------------------------------

    def _up(self) -> None:
        if self._is_begun:
            self._membership.begin()
            self.look_at_topics()

    def _down(self, error: StreamproofError) -> None:
        self._membership.end()
        self._channels.clear()
        self._attached.clear()
        self._opening.clear()
        self._kill(list(self.logs.values()))

    def _changed(self) -> None:
        """An event of the group's log was taken in."""
        stale = [self.logs[inner] for inner in self.member.stale() if inner in self.logs]
        self._kill([log for log in stale if not log.is_dead])
        self._prove()

    def _prove(self) -> None:
        """The connection does what it is for once the member reads all that it shall."""
        member = self.member
        wanted = [inner for inner, owner in member.state.targets.items() if owner == member.id]
        if member.is_in and all(self._is_read(inner) for inner in wanted):
            self.link.prove()

    def _is_read(self, inner: TopicPartition) -> bool:
        log = self.logs.get(inner)
        part = None if log is None else log.queue or log.stream
        return part is not None and part.serial in self._attached

    def _kill(self, logs: list[GroupLog]) -> None:
        """These are lost: nothing more of them, at once; the listener is told in the next poll."""
        for log in logs:
            log.is_dead = True
            for part in (log.stream, log.queue):
                channel = self._channels.pop(part.serial, None) if part is not None else None
                if channel is not None:
                    self.link.spawn(channel.close())
        self.news.set()

    def _tick(self) -> None:
        if not self._is_begun:
            return
        self._ticker = self.link.later(self.member.interval_s / 2, self._tick)
        if self.is_polling:
            self.member.polled(time.monotonic())
        for inner, log in self.logs.items():
            self._note_progress(inner, log)
        self._membership.tick()

    def _note_progress(self, inner: TopicPartition, log: GroupLog) -> None:
        if log.stream is not None and not log.is_dead:
            position = log.progress()
            if position is not None:
                self.member.progressed(inner, position)

    async def _open_group(self, topic: TopicCreated) -> None:
        procedure = open_group(
            self._definitions.catalogue,
            self._group,
            topic,
            self._options.start,
            self.link.version,
            secrets.token_hex(8),
        )
        doing = f"setting up group {self._group!r} on topic {topic.name!r}"
        try:
            await run(self.link, procedure, self._definitions.sync, _OPEN_GROUP_S, doing)
        except StreamproofError as error:
            _log.warning("%s: %s", doing, error)
            if isinstance(error, UnknownTopic | Unsupported):
                self._opening.discard(topic.id)
                return
            await asyncio.sleep(self._set_up.fail(time.monotonic()))
        else:
            self._set_up.prove(time.monotonic())
        self._opening.discard(topic.id)
        self.look_at_topics()

    async def _open(self, inner: TopicPartition, log: GroupLog, pause_s: float) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        if log.is_dead or self.logs.get(inner) is not log:
            return
        if log.stream is not None and log.stream.serial not in self._channels:
            await self._open_stream(inner, log, log.stream)
        if log.queue is not None and log.queue.serial not in self._channels:
            await self._open_queue(inner, log, log.queue)

    async def _open_stream(self, inner: TopicPartition, log: GroupLog, part: StreamPart) -> None:
        name, topic_id = split_inner(inner)

        def deliver(tag: int, is_redelivered: bool, message: Message) -> None:
            part.feed(tag, message)
            if log.wants_queue and not log.is_dead:
                self.link.spawn(self._open_queue(inner, log, log.open_queue()))
            if part.acks:
                self.plan_flush()
            self.news.set()

        stream = stream_of(name.topic, topic_id, inner.partition)
        channel = AioReadingChannel(
            self.link,
            stream,
            self._options.prefetch,
            deliver,
            partial(self._ended, inner, log, part),
            places=(part.position,),
        )
        await self._begin(inner, log, part, channel)

    async def _open_queue(self, inner: TopicPartition, log: GroupLog, part: QueuePart) -> None:
        name, topic_id = split_inner(inner)

        def deliver(tag: int, is_redelivered: bool, message: Message) -> None:
            if part.feed(tag, is_redelivered, message):
                self.news.set()
            else:
                self.plan_flush()

        queue = group_queue_of(name.topic, topic_id, inner.partition, self._group)
        channel = AioReadingChannel(
            self.link, queue, self._options.prefetch, deliver, partial(self._ended, inner, log, part)
        )
        await self._begin(inner, log, part, channel)

    async def _begin(
        self, inner: TopicPartition, log: GroupLog, part: StreamPart | QueuePart, channel: AioReadingChannel
    ) -> None:
        self._channels[part.serial] = channel
        try:
            await channel.open()
        except StreamproofError as error:
            self._ended(inner, log, part, error)
            return
        if log.is_dead:
            await channel.close()
            return
        self._attached.add(part.serial)
        if inner in self._backoffs:
            self._backoffs[inner].prove(time.monotonic())
        self._prove()

    def _ended(
        self,
        inner: TopicPartition,
        log: GroupLog,
        part: StreamPart | QueuePart,
        error: StreamproofError | None,
    ) -> None:
        """A channel broke off by itself; the end of the connection is dealt with elsewhere."""
        if error is None or isinstance(error, CONNECTION_ENDED) or log.is_dead:
            return
        backoff = self._backoffs.setdefault(inner, Backoff(first_s=_REOPEN_PAUSE_S))
        pause_s = backoff.fail(time.monotonic())
        # Again and again while a queue is not to be had: telling it once is enough.
        level = logging.WARNING if backoff.failures == 1 else logging.DEBUG
        _log.log(level, "%s[%d] of group %s: %s", log.log.topic, log.log.partition, self._group, error)
        if part.serial not in self._attached:
            # Nothing came of it yet, so the log need not change hands.
            self._channels.pop(part.serial, None)
            self.link.spawn(self._open(inner, log, pause_s))
            return
        self._pauses_s[inner] = pause_s
        self.member.failed(inner)
        self._kill([log])

    def _flush(self) -> None:
        self._is_flush_planned = False
        for log in self.logs.values():
            for part in (log.stream, log.queue):
                if part is not None and part.serial in self._channels:
                    acks = log.take_acks(part)
                    if acks:
                        self._channels[part.serial].acknowledge(acks)

    async def _let_go(self, inner: TopicPartition, log: GroupLog) -> None:
        self._note_progress(inner, log)
        log.is_dead = True
        self._membership.append()
        for part in (log.stream, log.queue):
            channel = self._channels.pop(part.serial, None) if part is not None else None
            if part is not None and channel is not None:
                channel.acknowledge(log.take_acks(part))
                await channel.stop()
        self.member.released((inner,))
        self._membership.append()
