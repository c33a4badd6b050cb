"""An in-memory cluster: the engine of ``streamproof.core`` with a lock, a clock and its waiters.

Threads and event loops share one cluster. Everything in it is done under ``lock``, which is held
for moments only and never while anything is waited for or called back; who waits for records or
for news of its group is woken by :meth:`Waiter.wake`, which does not block. There are no threads
and no timers: deadlines are looked at by whoever comes next, and who waits in a group waits no
longer than to its next deadline.
"""

import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Protocol

from streamproof.core.coordinator import GroupCoordinator
from streamproof.core.groups import Group
from streamproof.core.topics import Topic, Topics, TopicSettings
from streamproof.core.transactional_id import Moment
from streamproof.core.transactions import TransactionCoordinator
from streamproof.drivers.memory.clock import Clock, SystemClock
from streamproof.drivers.memory.faults import Api, Faults, Request
from streamproof.drivers.memory.settings import MemorySettings
from streamproof.errors import ConfigurationError, Unsupported
from streamproof.records import GroupDescription, TopicDescription, TopicPartition, TopicSpec

if TYPE_CHECKING:
    from streamproof.drivers.memory.async_driver import AsyncMemoryDriver
    from streamproof.drivers.memory.sync_driver import MemoryDriver

_FORGET_EVERY_MS = 10 * 60 * 1000
"""Kafka's ``producer.id.expiration.check.interval.ms``."""


class Waiter(Protocol):
    """A consumer that may be waiting for something to happen."""

    def wake(self) -> None:
        """Look again. Called with the cluster locked, from any thread; does not block."""
        ...


class MemoryCluster:
    """One in-memory cluster. Nobody else sees it but who holds it.

    ``clock`` is the time it lives in. ``faults`` makes things go wrong on purpose. The attributes
    below it are the engine: to be used with ``lock`` held only.
    """

    def __init__(
        self, name: str = "", *, clock: Clock | None = None, settings: MemorySettings | None = None
    ) -> None:
        self.name = name
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.settings = settings if settings is not None else MemorySettings()
        self.faults = Faults(self._wake_all)
        self.lock = threading.Lock()
        self.topics = Topics()
        self.groups = GroupCoordinator()
        self.transactions = TransactionCoordinator(
            self.topics, self.groups, count().__next__, version=self.settings.transaction_version
        )
        self.waiters: dict[Waiter, None] = {}
        self.unsettled: dict[Waiter, None] = {}
        """Those who wait until an open transaction no longer holds offsets of theirs."""
        self.members: dict[tuple[str, str], Waiter] = {}
        self._ids = count(1)
        self._forgot_ms = 0

    def __repr__(self) -> str:
        return f"<MemoryCluster {self.name!r} with {len(self.topics.names())} topics>"

    # -- doors -----------------------------------------------------------------------------

    def driver(self) -> "MemoryDriver":
        """A blocking driver on this cluster."""
        from streamproof.drivers.memory.sync_driver import MemoryDriver

        return MemoryDriver(self)

    def async_driver(self) -> "AsyncMemoryDriver":
        """An async driver on this cluster."""
        from streamproof.drivers.memory.async_driver import AsyncMemoryDriver

        return AsyncMemoryDriver(self)

    # -- admin: these lock themselves ------------------------------------------------------

    def create_topics(self, topics: Sequence[TopicSpec], client: str = "") -> None:
        """Create each in turn; see :class:`~streamproof.driver.AdminDriver`."""
        with self.lock:
            for spec in topics:
                self._admit("admin", client, topic=spec.name)
                if spec.is_compacted:
                    raise Unsupported(
                        "an in-memory topic cannot be compacted: leave is_compacted out, and keep the last "
                        "value of each key in a store"
                    )
                if spec.replication is not None and spec.replication < 1:
                    raise ConfigurationError(
                        f"replication={spec.replication} is not possible: give 1 or more"
                    )
                self.create_topic(
                    spec.name,
                    TopicSettings(
                        spec.partitions,
                        spec.retention_ms,
                        spec.retention_bytes,
                        self.settings.max_message_bytes,
                    ),
                )
                self._answer("admin", client, topic=spec.name)

    def delete_topics(self, names: Sequence[str], client: str = "") -> None:
        """Delete each in turn, with its records and the progress of groups in it."""
        with self.lock:
            for name in names:
                self._admit("admin", client, topic=name)
                self.topics.delete(name)
                self._topics_changed(frozenset((name,)))
                self._answer("admin", client, topic=name)

    def list_topics(self, client: str = "") -> list[str]:
        """All names, sorted."""
        with self.lock:
            self._admit("admin", client)
            return self.topics.names()

    def describe_topics(self, names: Sequence[str], client: str = "") -> list[TopicDescription]:
        """One description a name, in order."""
        with self.lock:
            self._admit("admin", client)
            return [self.topics.topic(name).describe() for name in names]

    def list_groups(self, client: str = "") -> list[str]:
        """Groups with members or progress, sorted."""
        with self.lock:
            self._admit("admin", client)
            self._expire()
            return self.groups.names()

    def describe_groups(self, names: Sequence[str], client: str = "") -> list[GroupDescription]:
        """One description a name, in order."""
        with self.lock:
            self._admit("admin", client)
            self._expire()
            return [self.groups.describe(name) for name in names]

    def delete_records(self, before: Mapping[TopicPartition, int], client: str = "") -> None:
        """Trim each log in turn."""
        with self.lock:
            for name, offset in before.items():
                self._admit("admin", client, topic=name[0], partition=name[1])
                self.topics.log(TopicPartition(*name)).trim(offset)
                self._answer("admin", client, topic=name[0], partition=name[1])

    # -- for producers and consumers: with the lock held -----------------------------------

    def create_topic(self, name: str, settings: TopicSettings) -> Topic:
        """A new topic, of which groups and waiters learn."""
        topic = self.topics.create(name, next(self._ids), settings)
        self._topics_changed(frozenset())
        return topic

    def topic_for(self, name: str) -> Topic:
        """The topic, made now if it is missing and ``auto_create`` is on; else :class:`UnknownTopic`."""
        topic = self.topics.find(name)
        if topic is None and self.settings.auto_create:
            settings = TopicSettings(
                self.settings.partitions, max_message_bytes=self.settings.max_message_bytes
            )
            return self.create_topic(name, settings)
        return topic if topic is not None else self.topics.topic(name)

    def new_id(self) -> int:
        """A number that this cluster gives once."""
        return next(self._ids)

    def moment(self) -> Moment:
        """Now."""
        return Moment(self.clock.now_ms(), self.clock.monotonic_ns())

    def expire_transactions(self) -> None:
        """Abort the transactions that are open for too long."""
        deadline_ns = self.transactions.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= self.clock.monotonic_ns():
            self.transactions.expire(self.moment())
            self.spread_stability()

    def forget_producers(self) -> None:
        """Now and then, forget the producers that wrote nothing for so long that Kafka would forget them."""
        now = self.moment()
        if now.ms - self._forgot_ms >= _FORGET_EVERY_MS:
            self._forgot_ms = now.ms
            self.topics.expire_producers(now.ms)
            self.transactions.forget_idle(now)

    def spread_stability(self) -> None:
        """A transaction ended: wake those who wait for its offsets."""
        for waiter in self.unsettled:
            waiter.wake()

    def spread_news(self, group: Group) -> None:
        """Wake the members that their group has something to tell."""
        for member_id in sorted(group.news):  # a set's own order differs from run to run
            waiter = self.members.get((group.name, member_id))
            if waiter is not None:
                waiter.wake()

    # -- inside ----------------------------------------------------------------------------

    def _admit(self, api: Api, client: str, topic: str | None = None, partition: int | None = None) -> None:
        if self.faults.interceptors:
            error = self.faults.before(Request(api, client, None, topic, partition))
            if error is not None:
                raise error

    def _answer(self, api: Api, client: str, topic: str | None = None, partition: int | None = None) -> None:
        if self.faults.interceptors:
            error = self.faults.after(Request(api, client, None, topic, partition))
            if error is not None:
                raise error

    def _expire(self) -> None:
        self.expire_transactions()
        self.groups.expire(self.clock.monotonic_ns())
        for waiter in self.members.values():
            waiter.wake()

    def _topics_changed(self, deleted: frozenset[str]) -> None:
        self.groups.topics_changed(self.topics.partition_counts(), deleted)
        for waiter in self.waiters:
            waiter.wake()

    def _wake_all(self) -> None:
        with self.lock:
            for waiter in self.waiters:
                waiter.wake()
