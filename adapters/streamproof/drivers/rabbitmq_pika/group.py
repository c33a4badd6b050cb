"""The blocking consumer of a group, as the seam wants it: the part on the caller's thread."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from streamproof.core.membership_member import Changes
from streamproof.driver import AssignmentListener
from streamproof.drivers.rabbitmq.intake import GroupLog, serial_of
from streamproof.drivers.rabbitmq.procedures import open_groups
from streamproof.drivers.rabbitmq.refusals import no_group_offsets, not_assigned
from streamproof.drivers.rabbitmq.subscription import inner_counts
from streamproof.drivers.rabbitmq.topology import Endpoint
from streamproof.drivers.rabbitmq_pika.commands import run
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.fetching import GroupFetching
from streamproof.drivers.rabbitmq_pika.link import left_s
from streamproof.errors import Closed, NotAssigned
from streamproof.options import ConsumerOptions
from streamproof.records import Position, RawRecord, TopicPartition, Watermarks

_log = logging.getLogger("streamproof.rabbitmq")


class PikaGroupConsumer:
    """See :class:`~streamproof.driver.ConsumerDriver`. At most ``prefetch`` records are handed out
    and not acknowledged, over all logs; the server sends each log's channel that many."""

    def __init__(self, endpoint: Endpoint, definitions: Definitions, options: ConsumerOptions) -> None:
        self._definitions = definitions
        self._options = options
        self._fetching = GroupFetching(endpoint, definitions, options)
        self._lock = self._fetching.lock
        self._logs = self._fetching.logs
        self._held: dict[TopicPartition, GroupLog] = {}
        """The same logs under the application's names."""
        self._paused: set[TopicPartition] = set()
        self._listener: AssignmentListener | None = None
        self._generation = 0
        self._turn = 0
        self._is_closed = False
        self._unwatch: Callable[[], None] = _nothing

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def start(self, listener: AssignmentListener, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        assert self._options.group is not None
        self._listener = listener
        subscription, catalogue = self._fetching.subscription, self._definitions.catalogue
        if subscription.missing() is not None or not subscription.topics():
            self._definitions.wait_synced(left_s(deadline_s))
            subscription.require_all()
        self._fetching.link.open(left_s(deadline_s))
        topics = subscription.topics()
        procedure = open_groups(
            catalogue,
            self._options.group,
            topics,
            self._options.start,
            self._fetching.link.version,
            lambda: secrets.token_hex(8),
        )
        doing = f"setting up group {self._options.group!r}"
        run(self._fetching.link, procedure, self._definitions.sync, left_s(deadline_s), doing)
        with self._lock:
            self._fetching.member.subscribe(inner_counts(topics))
        link = self._fetching.link
        self._unwatch = catalogue.watch(lambda: link.call(self._fetching.look_at_topics))
        link.call(self._fetching.begin)

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        deadline_s = time.monotonic() + timeout_s
        member = self._fetching.member
        with self._lock:
            self._require_open()
            self._fetching.is_polling = True
            member.polled(time.monotonic())
        if self._fetching.link.connection is None:
            self._fetching.link.call(self._fetching.link.wake)
        try:
            while True:
                self._rebalance()
                with self._lock:
                    records = self._take(max_records)
                    if records:
                        return records
                    self._require_open()
                    if member.has_changes():
                        continue
                    left = left_s(deadline_s)
                    if left <= 0:
                        return []
                    self._wait(left)
        finally:
            with self._lock:
                self._fetching.is_polling = False
                member.polled(time.monotonic())

    def ack(self, records: Sequence[RawRecord]) -> None:
        tags: dict[tuple[TopicPartition, int], list[int]] = {}
        for record in records:
            serial, tag = serial_of(record.token)
            tags.setdefault((TopicPartition(record.topic, record.partition), serial), []).append(tag)
        missing: NotAssigned | None = None
        with self._lock:
            for (log, serial), chosen in tags.items():
                held = self._held.get(log)
                if held is None or not held.acknowledge(serial, chosen):
                    missing = not_assigned(log)
            self._fetching.plan_flush()
            if self._fetching.is_waiting:
                self._lock.notify_all()
        if missing is not None:
            raise missing

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_group_offsets("commit of offsets")

    def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        raise no_group_offsets("seek")

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            self._paused.difference_update(partitions)
            self._lock.notify_all()

    def assignment(self) -> tuple[TopicPartition, ...]:
        with self._lock:
            return tuple(sorted(self._held))

    def position(self, partition: TopicPartition, timeout_s: float) -> int:
        raise no_group_offsets("position")

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        raise no_group_offsets("committed")

    def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        raise no_group_offsets("watermarks")

    def close(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._lock.notify_all()
        self._unwatch()
        try:
            self._leave(deadline_s)
        finally:
            self._fetching.link.close(max(0.2, left_s(deadline_s)))

    # -- inside ----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the consumer is closed")
        error = self._fetching.link.error
        if error is not None and not error.retriable:
            raise error

    def _wait(self, left: float) -> None:
        """With the lock held: until something arrives, an ack makes room, or logs come and go."""
        self._fetching.is_waiting = True
        try:
            self._lock.wait(left)
        finally:
            self._fetching.is_waiting = False

    def _take(self, max_records: int) -> list[RawRecord]:
        """With the lock held. Another log is first each time."""
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

    def _rebalance(self) -> None:
        """Tell the listener what came and went, and do it."""
        with self._lock:
            changes = self._fetching.member.take_changes()
            gone = [] if changes is None else self._remove(changes.lost)
            has_news = bool(self._fetching.member.outbox)
        if has_news:
            self._fetching.link.call(self._fetching.append)
        if changes is None:
            return
        assert self._listener is not None
        link = self._fetching.link
        if changes.lost:
            link.call(lambda: self._fetching.let_go(gone))
            self._listener.on_lost(self._generation or None, [log.log for _, log in gone])
        if changes.revoked:
            self._revoke(changes)
        if self._fetching.member.is_in:
            self._assign(changes)

    def _revoke(self, changes: Changes) -> None:
        assert self._listener is not None
        names = [self._logs[inner].log for inner in changes.revoked]
        try:
            self._listener.on_revoke(self._generation or None, names)
        finally:
            with self._lock:
                revoked = self._remove(changes.revoked)
            self._fetching.link.call(lambda: self._fetching.let_go(revoked))

    def _assign(self, changes: Changes) -> None:
        assert self._listener is not None
        with self._lock:
            opened = [(inner, self._fetching.new_log(inner)) for inner in changes.assigned]
            for inner, log in opened:
                self._logs[inner] = self._held[log.log] = log
            held = tuple(sorted(self._held))
            self._generation = changes.generation
        self._listener.on_assign(self._generation, held, {})
        self._fetching.link.call(lambda: self._fetching.open_logs(opened))

    def _remove(self, inners: Sequence[TopicPartition]) -> list[tuple[TopicPartition, GroupLog]]:
        """With the lock held."""
        removed = []
        for inner in inners:
            log = self._logs.pop(inner, None)
            if log is not None:
                removed.append((inner, log))
                self._paused.discard(log.log)
                if self._held.get(log.log) is log:
                    del self._held[log.log]
        return removed

    def _leave(self, deadline_s: float) -> None:
        with self._lock:
            dead = [inner for inner, log in self._logs.items() if log.is_dead]
            alive = [inner for inner, log in self._logs.items() if not log.is_dead]
            names = [self._logs[inner].log for inner in alive]
            lost = self._remove(dead)
        if self._listener is not None:
            if lost:
                self._listener.on_lost(self._generation or None, [log.log for _, log in lost])
            if names:
                self._listener.on_revoke(self._generation or None, names)
        with self._lock:
            revoked = self._remove(alive)
        fetching = self._fetching
        if fetching.link.connection is None:
            return
        left = threading.Event()
        fetching.link.call(lambda: fetching.let_go(revoked, lambda: fetching.leave(left.set)))
        left.wait(left_s(deadline_s) * 0.8)


def _nothing() -> None:
    """There is no watch to end yet."""
