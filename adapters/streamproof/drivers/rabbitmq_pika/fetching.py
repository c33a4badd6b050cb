"""The I/O thread's part of a group's consumer: channels of the logs it holds, acks, recovery."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from streamproof.core.membership_member import Member
from streamproof.drivers.rabbitmq.backoff import Backoff
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.codec import read_message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.intake import GroupLog, QueuePart, StreamPart
from streamproof.drivers.rabbitmq.procedures import open_group
from streamproof.drivers.rabbitmq.subscription import Subscription, inner_counts, split_inner
from streamproof.drivers.rabbitmq.topology import Endpoint, group_queue_of, stream_of
from streamproof.drivers.rabbitmq_pika.channels import ReadingChannel
from streamproof.drivers.rabbitmq_pika.commands import Run
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.link import Link
from streamproof.drivers.rabbitmq_pika.membership import Membership
from streamproof.errors import StreamproofError, UnknownTopic, Unsupported
from streamproof.options import ConsumerOptions
from streamproof.records import TopicPartition

_log = logging.getLogger("streamproof.rabbitmq")

_REOPEN_PAUSE_S = 0.2
"""Before a log is opened again whose channel failed: its topic may be about to be deleted. It doubles
while that goes on."""

_HEARTBEATS_A_SESSION = 3


class GroupFetching:
    """State that the caller's thread and the I/O thread share, guarded by ``lock``, and what the
    I/O thread does with it. Logs are named as the group's log names them."""

    def __init__(self, endpoint: Endpoint, definitions: Definitions, options: ConsumerOptions) -> None:
        assert options.group is not None
        self.lock = threading.Condition()
        self.subscription = Subscription(options, definitions.catalogue)
        self.member = Member({}, options.session_timeout_s, options.max_poll_interval_s, time.monotonic())
        self.logs: dict[TopicPartition, GroupLog] = {}
        self.is_polling = False
        self.is_waiting = False
        self._group = options.group
        self._options = options
        self._definitions = definitions
        self._serials = count(1)
        self._channels: dict[int, ReadingChannel] = {}
        self._attached: set[int] = set()
        """Serial numbers of the parts that the server sends records of."""
        self._backoffs: dict[TopicPartition, Backoff] = {}
        self._pauses_s: dict[TopicPartition, float] = {}
        """Before logs that failed are opened again."""
        self._opening: set[str] = set()
        self._set_up = Backoff(first_s=_REOPEN_PAUSE_S)
        self._is_begun = False
        self._is_flush_planned = False
        heartbeat_s = max(1, int(options.session_timeout_s / _HEARTBEATS_A_SESSION))
        self.link = Link(
            endpoint,
            f"consumer of {options.group}",
            min(endpoint.heartbeat_s, heartbeat_s),
            self._up,
            self._down,
            lambda: not self.member.is_idle(time.monotonic()),
        )
        self._membership = Membership(
            self.link,
            self.lock,
            self.member,
            options.group,
            options.client_id or "streamproof",
            definitions.sync,
            self._changed,
        )

    # -- asked for by the caller's thread, through link.call -------------------------------

    def begin(self) -> None:
        """The group is set up: become a member."""
        self._is_begun = True
        if self.link.connection is not None:
            self._membership.begin()
        self._tick()
        self.look_at_topics()

    def plan_flush(self) -> None:
        """Send the acknowledgements that wait, soon; with the lock held."""
        if not self._is_flush_planned:
            self._is_flush_planned = True
            self.link.call(self._flush)

    def new_log(self, inner: TopicPartition) -> GroupLog:
        """The books of a log that was just assigned; with the lock held."""
        log, topic_id = split_inner(inner)
        opened = self._definitions.catalogue.opened(self._group, topic_id)
        backlog = opened.backlog.get(inner.partition) if opened is not None else None
        return GroupLog(log, backlog, self.member.state.progress.get(inner), self._serials)

    def open_logs(self, opened: Iterable[tuple[TopicPartition, GroupLog]]) -> None:
        """Begin to read logs."""
        for inner, log in opened:
            pause_s = self._pauses_s.pop(inner, 0.0)
            if pause_s:
                self.link.later(pause_s, partial(self._open, inner, log))
            else:
                self._open(inner, log)

    def let_go(
        self, closed: Iterable[tuple[TopicPartition, GroupLog]], done: Callable[[], None] | None = None
    ) -> None:
        """Stop reading logs: tell the server what was acknowledged, close their channels, then tell
        the group. ``done`` is called after the last."""
        waiting = 0

        def ended() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting and done is not None:
                done()

        for inner, log in closed:
            waiting += 1
            self._let_go(inner, log, ended)
        waiting += 1
        ended()

    def append(self) -> None:
        """Append what the member has to tell its group."""
        self._membership.append()

    def leave(self, done: Callable[[], None]) -> None:
        """Leave the group; everything was let go of."""
        self._is_begun = False
        self._membership.leave(done)

    def look_at_topics(self) -> None:
        """The definitions changed: set the group up on topics that are new, then subscribe."""
        if not self._is_begun or self.link.connection is None:
            return
        ready: list[TopicCreated] = []
        for topic in self.subscription.topics():
            if self._definitions.catalogue.opened(self._group, topic.id) is not None:
                ready.append(topic)
            elif topic.id not in self._opening:
                self._open_group(topic)
        with self.lock:
            self.member.subscribe(inner_counts(ready))
        self._membership.append()

    # -- inside ----------------------------------------------------------------------------

    def _up(self, connection: Connection) -> None:
        if self._is_begun:
            self._membership.begin()
            self.look_at_topics()

    def _down(self, error: StreamproofError) -> None:
        self._membership.end()
        self._channels.clear()
        self._attached.clear()
        self._opening.clear()
        self._kill(list(self.logs.items()))

    def _changed(self) -> None:
        """An event of the group's log was taken in."""
        with self.lock:
            stale = [(inner, self.logs[inner]) for inner in self.member.stale() if inner in self.logs]
        self._kill([(inner, log) for inner, log in stale if not log.is_dead])
        self._prove()

    def _prove(self) -> None:
        """The connection does what it is for once the member reads all that it shall."""
        with self.lock:
            member = self.member
            wanted = [inner for inner, owner in member.state.targets.items() if owner == member.id]
            works = member.is_in and all(self._is_read(inner) for inner in wanted)
        if works:
            self.link.prove()

    def _is_read(self, inner: TopicPartition) -> bool:
        log = self.logs.get(inner)
        part = None if log is None else log.queue or log.stream
        return part is not None and part.serial in self._attached

    def _kill(self, logs: list[tuple[TopicPartition, GroupLog]]) -> None:
        """These are lost: nothing more of them, at once; the listener is told in the next poll."""
        with self.lock:
            for _, log in logs:
                log.is_dead = True
            self._wake()
        for _, log in logs:
            for part in (log.stream, log.queue):
                channel = self._channels.pop(part.serial, None) if part is not None else None
                if channel is not None:
                    channel.close()

    def _wake(self) -> None:
        if self.is_waiting:
            self.lock.notify_all()

    def _tick(self) -> None:
        if not self._is_begun:
            return
        self.link.later(self.member.interval_s / 2, self._tick)
        with self.lock:
            if self.is_polling:
                self.member.polled(time.monotonic())
            for inner, log in self.logs.items():
                self._note_progress(inner, log)
        self._membership.tick()

    def _note_progress(self, inner: TopicPartition, log: GroupLog) -> None:
        """With the lock held."""
        if log.stream is not None and not log.is_dead:
            position = log.progress()
            if position is not None:
                self.member.progressed(inner, position)

    def _open_group(self, topic: TopicCreated) -> None:
        self._opening.add(topic.id)

        def look_again() -> None:
            self._opening.discard(topic.id)
            self.look_at_topics()

        def opened(_: None, error: StreamproofError | None) -> None:
            if error is None:
                self._set_up.prove(time.monotonic())
                look_again()
                return
            _log.warning("group %s cannot read topic %s: %s", self._group, topic.name, error)
            if isinstance(error, UnknownTopic | Unsupported):
                self._opening.discard(topic.id)
            else:
                self.link.later(self._set_up.fail(time.monotonic()), look_again)

        procedure = open_group(
            self._definitions.catalogue,
            self._group,
            topic,
            self._options.start,
            self.link.version,
            secrets.token_hex(8),
        )
        Run(self.link, procedure, self._definitions.sync, opened).start()

    def _open(self, inner: TopicPartition, log: GroupLog) -> None:
        connection = self.link.connection
        if connection is None or log.is_dead or self.logs.get(inner) is not log:
            return
        if log.stream is not None and log.stream.serial not in self._channels:
            self._open_stream(connection, inner, log, log.stream)
        if log.queue is not None and log.queue.serial not in self._channels:
            self._open_queue(connection, inner, log, log.queue)

    def _open_stream(
        self, connection: Connection, inner: TopicPartition, log: GroupLog, part: StreamPart
    ) -> None:
        name, topic_id = split_inner(inner)

        def deliver(tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
            message = read_message(properties, body)
            with self.lock:
                part.feed(tag, message)
                queue = log.open_queue() if log.wants_queue and not log.is_dead else None
                if part.acks:
                    self.plan_flush()
                self._wake()
            if queue is not None:
                self._open_queue(connection, inner, log, queue)

        self._channels[part.serial] = ReadingChannel(
            connection,
            stream_of(name.topic, topic_id, inner.partition),
            self._options.prefetch,
            deliver,
            partial(self._ended, inner, log, part),
            places=(part.position,),
            on_attached=partial(self._attach, inner, part),
        )

    def _open_queue(
        self, connection: Connection, inner: TopicPartition, log: GroupLog, part: QueuePart
    ) -> None:
        name, topic_id = split_inner(inner)

        def deliver(tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
            message = read_message(properties, body)
            with self.lock:
                if part.feed(tag, is_redelivered, message):
                    self._wake()
                else:
                    self.plan_flush()

        self._channels[part.serial] = ReadingChannel(
            connection,
            group_queue_of(name.topic, topic_id, inner.partition, self._group),
            self._options.prefetch,
            deliver,
            partial(self._ended, inner, log, part),
            on_attached=partial(self._attach, inner, part),
        )

    def _attach(self, inner: TopicPartition, part: StreamPart | QueuePart) -> None:
        """The server sends what stands in a log."""
        self._attached.add(part.serial)
        backoff = self._backoffs.get(inner)
        if backoff is not None:
            backoff.prove(time.monotonic())
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
            self.link.later(pause_s, partial(self._open, inner, log))
            return
        self._pauses_s[inner] = pause_s
        with self.lock:
            self.member.failed(inner)
        self._kill([(inner, log)])

    def _flush(self) -> None:
        with self.lock:
            self._is_flush_planned = False
            waiting = [
                (self._channels.get(part.serial), log.take_acks(part))
                for log in self.logs.values()
                for part in (log.stream, log.queue)
                if part is not None
            ]
        for channel, acks in waiting:
            if channel is not None and acks:
                channel.acknowledge(acks)

    def _let_go(self, inner: TopicPartition, log: GroupLog, done: Callable[[], None]) -> None:
        with self.lock:
            self._note_progress(inner, log)
            log.is_dead = True
            parts = [part for part in (log.stream, log.queue) if part is not None]
            acks = {part.serial: log.take_acks(part) for part in parts}
        self._membership.append()
        open_now = [self._channels.pop(part.serial, None) for part in parts]
        channels = [channel for channel in open_now if channel is not None]
        left = len(channels)

        def ended() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                with self.lock:
                    self.member.released((inner,))
                self._membership.append()
                done()

        if not channels:
            ended()
        for part, channel in zip(parts, open_now, strict=True):
            if channel is not None:
                channel.acknowledge(acks[part.serial])
                channel.stop(ended)
