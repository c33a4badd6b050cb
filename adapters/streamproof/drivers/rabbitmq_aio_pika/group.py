"""The async consumer of a group, as the seam wants it."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from streamproof.core.membership_member import Changes
from streamproof.driver import AsyncAssignmentListener
from streamproof.drivers.rabbitmq.intake import GroupLog, serial_of
from streamproof.drivers.rabbitmq.procedures import open_groups
from streamproof.drivers.rabbitmq.refusals import no_group_offsets, not_assigned
from streamproof.drivers.rabbitmq.subscription import inner_counts
from streamproof.drivers.rabbitmq.topology import Endpoint
from streamproof.drivers.rabbitmq_aio_pika.commands import run
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.drivers.rabbitmq_aio_pika.fetching import AioGroupFetching
from streamproof.drivers.rabbitmq_aio_pika.link import wait_for_news
from streamproof.errors import Closed, NotAssigned
from streamproof.options import ConsumerOptions
from streamproof.records import Position, RawRecord, TopicPartition, Watermarks

_log = logging.getLogger("streamproof.rabbitmq")


class AioPikaGroupConsumer:
    """See :class:`~streamproof.driver.AsyncConsumerDriver`. At most ``prefetch`` records are handed
    out and not acknowledged, over all logs; the server sends each log's channel that many."""

    def __init__(self, endpoint: Endpoint, definitions: AioDefinitions, options: ConsumerOptions) -> None:
        self._definitions = definitions
        self._options = options
        self._fetching = AioGroupFetching(endpoint, definitions, options)
        self._logs = self._fetching.logs
        self._held: dict[TopicPartition, GroupLog] = {}
        """The same logs under the application's names."""
        self._paused: set[TopicPartition] = set()
        self._listener: AsyncAssignmentListener | None = None
        self._generation = 0
        self._turn = 0
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        assert self._options.group is not None
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        fetching, catalogue = self._fetching, self._definitions.catalogue
        if fetching.subscription.missing() is not None or not fetching.subscription.topics():
            await self._definitions.wait_synced(_left_s(deadline_s))
            fetching.subscription.require_all()
        await fetching.link.open(_left_s(deadline_s))
        topics = fetching.subscription.topics()
        procedure = open_groups(
            catalogue,
            self._options.group,
            topics,
            self._options.start,
            fetching.link.version,
            lambda: secrets.token_hex(8),
        )
        doing = f"setting up group {self._options.group!r}"
        await run(fetching.link, procedure, self._definitions.sync, _left_s(deadline_s), doing)
        fetching.member.subscribe(inner_counts(topics))
        self._unwatch = catalogue.watch(fetching.look_at_topics)
        fetching.begin()

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        deadline_s = time.monotonic() + timeout_s
        fetching = self._fetching
        self._require_open()
        fetching.is_polling = True
        fetching.member.polled(time.monotonic())
        if fetching.link.connection is None:
            fetching.link.wake()
        is_last = False
        try:
            while True:
                await self._rebalance()
                records = self._take(max_records)
                if records:
                    return records
                self._require_open()
                if fetching.member.has_changes():
                    continue
                if is_last:
                    return []
                is_last = _left_s(deadline_s) <= 0
                await wait_for_news(fetching.news, _left_s(deadline_s))
                fetching.news.clear()
        finally:
            fetching.is_polling = False
            fetching.member.polled(time.monotonic())

    async def ack(self, records: Sequence[RawRecord]) -> None:
        tags: dict[tuple[TopicPartition, int], list[int]] = {}
        for record in records:
            serial, tag = serial_of(record.token)
            tags.setdefault((TopicPartition(record.topic, record.partition), serial), []).append(tag)
        missing: NotAssigned | None = None
        for (log, serial), chosen in tags.items():
            held = self._held.get(log)
            if held is None or not held.acknowledge(serial, chosen):
                missing = not_assigned(log)
        self._fetching.plan_flush()
        self._fetching.news.set()
        if missing is not None:
            raise missing

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_group_offsets("commit of offsets")

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        raise no_group_offsets("seek")

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._fetching.news.set)

    def assignment(self) -> tuple[TopicPartition, ...]:
        return tuple(sorted(self._held))

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        raise no_group_offsets("position")

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        raise no_group_offsets("committed")

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        raise no_group_offsets("watermarks")

    async def close(self, timeout_s: float) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        deadline_s = time.monotonic() + timeout_s
        self._fetching.news.set()
        self._unwatch()
        try:
            await self._leave(deadline_s)
        finally:
            self._fetching.end()
            await self._fetching.link.close(max(0.2, _left_s(deadline_s)))

    # -- inside ----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed")
        error = self._fetching.link.error
        if error is not None and not error.retriable:
            raise error

    def _take(self, max_records: int) -> list[RawRecord]:
        """Another log is first each time."""
        logs = list(self._held.items())
        if not logs:
            return []
        room = min(max_records, self._options.prefetch - sum(log.unacknowledged for _, log in logs))
        self._turn += 1
        start = self._turn % len(logs)
        records: list[RawRecord] = []
        for name, log in logs[start:] + logs[:start]:
            if room <= 0:
                break
            if name not in self._paused and log.has_records:
                taken = log.take(room)
                room -= len(taken)
                records = records + taken if records else taken
        return records

    async def _rebalance(self) -> None:
        """Tell the listener what came and went, and do it."""
        changes = self._fetching.member.take_changes()
        self._fetching.append()
        if changes is None:
            return
        assert self._listener is not None
        if changes.lost:
            gone = self._remove(changes.lost)
            self._fetching.link.spawn(self._fetching.let_go(gone))
            await self._listener.on_lost(self._generation or None, [log.log for _, log in gone])
        if changes.revoked:
            await self._revoke(changes)
        if self._fetching.member.is_in:
            await self._assign(changes)

    async def _revoke(self, changes: Changes) -> None:
        assert self._listener is not None
        names = [self._logs[inner].log for inner in changes.revoked]
        try:
            await self._listener.on_revoke(self._generation or None, names)
        finally:
            revoked = self._remove(changes.revoked)
            self._fetching.link.spawn(self._fetching.let_go(revoked))

    async def _assign(self, changes: Changes) -> None:
        assert self._listener is not None
        opened = [(inner, self._fetching.new_log(inner)) for inner in changes.assigned]
        for inner, log in opened:
            self._logs[inner] = self._held[log.log] = log
        self._generation = changes.generation
        await self._listener.on_assign(self._generation, self.assignment(), {})
        self._fetching.open_logs(opened)

    def _remove(self, inners: Sequence[TopicPartition]) -> list[tuple[TopicPartition, GroupLog]]:
        removed = []
        for inner in inners:
            log = self._logs.pop(inner, None)
            if log is not None:
                removed.append((inner, log))
                self._paused.discard(log.log)
                if self._held.get(log.log) is log:
                    del self._held[log.log]
        return removed

    async def _leave(self, deadline_s: float) -> None:
        dead = [inner for inner, log in self._logs.items() if log.is_dead]
        alive = [inner for inner, log in self._logs.items() if not log.is_dead]
        names = [self._logs[inner].log for inner in alive]
        lost = self._remove(dead)
        if self._listener is not None:
            if lost:
                await self._listener.on_lost(self._generation or None, [log.log for _, log in lost])
            if names:
                await self._listener.on_revoke(self._generation or None, names)
        revoked = self._remove(alive)
        if self._fetching.link.connection is None:
            return
        leaving = asyncio.ensure_future(self._let_go_and_leave(revoked))
        try:
            await asyncio.wait({leaving}, timeout=_left_s(deadline_s) * 0.8)
        finally:
            leaving.cancel()

    async def _let_go_and_leave(self, revoked: list[tuple[TopicPartition, GroupLog]]) -> None:
        await self._fetching.let_go(revoked)
        await self._fetching.leave()


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _nothing() -> None:
    """There is no watch to end yet."""
