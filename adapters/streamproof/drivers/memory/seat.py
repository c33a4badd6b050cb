"""What entitles an in-memory consumer to its logs: a seat in a group, or reading on its own.

Both answer one question, ``look``: what may I hold now? They are used with the cluster locked.
"""

import re
from typing import NamedTuple, Protocol

from streamproof.core.groups import Group, Member, Subscription, Timeouts
from streamproof.drivers.memory.cluster import MemoryCluster, Waiter
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions
from streamproof.records import TopicPartition

_NS = 1_000_000_000


class Entitlement(NamedTuple):
    """The logs a consumer may hold, and those of them that it has to give up in an orderly way.
    ``is_complete``: no more will follow soon. Logs in neither are lost."""

    generation: int | None
    partitions: frozenset[TopicPartition]
    revoking: frozenset[TopicPartition] = frozenset()
    is_complete: bool = True


class Seat(Protocol):
    """One consumer's entitlement over time."""

    def take(self) -> None:
        """Begin. :class:`UnknownTopic` if a topic that was named is not there."""
        ...

    def look(self, held: frozenset[TopicPartition]) -> Entitlement | None:
        """What may be held from now on; ``None`` when nothing changed since the last look. It may
        only be asked again when ``held`` follows its answer, or after ``look_again``."""
        ...

    def look_again(self) -> None:
        """Let the next look answer in any case."""
        ...

    def begin_poll(self) -> None:
        """A poll begins to wait."""
        ...

    def end_poll(self) -> None:
        """The consumer goes to work on what it polled."""
        ...

    def wait_bound_s(self) -> float | None:
        """After how many seconds to look even if nobody wakes."""
        ...

    def leave(self) -> None:
        """Give everything up, in an orderly way."""
        ...

    def die(self) -> None:
        """Stop without a word, as a process that is killed."""
        ...


def subscription_of(options: ConsumerOptions) -> Subscription:
    """The topics that the options mean; :class:`ConfigurationError` for a broken pattern."""
    if options.pattern is None:
        return Subscription(frozenset(options.topics))
    try:
        return Subscription(pattern=re.compile(options.pattern))
    except re.error as error:
        raise ConfigurationError(f"pattern={options.pattern!r} is no regular expression: {error}") from error


class OwnSeat:
    """Reading without a group: every partition of every topic that is meant."""

    def __init__(self, cluster: MemoryCluster, options: ConsumerOptions) -> None:
        self._cluster = cluster
        self._topics = options.topics
        self._subscription = subscription_of(options)
        self._seen_version = -1

    def take(self) -> None:
        """See :class:`Seat`."""
        for name in self._topics:
            self._cluster.topic_for(name)

    def look(self, held: frozenset[TopicPartition]) -> Entitlement | None:
        """See :class:`Seat`."""
        if self._seen_version == self._cluster.topics.version:
            return None
        self._seen_version = self._cluster.topics.version
        counts = self._cluster.topics.partition_counts()
        return Entitlement(
            None,
            frozenset(
                TopicPartition(topic, partition)
                for topic in self._subscription.resolve(counts)
                for partition in range(counts[topic])
            ),
        )

    def look_again(self) -> None:
        """See :class:`Seat`."""
        self._seen_version = -1

    def begin_poll(self) -> None:
        """See :class:`Seat`."""

    def end_poll(self) -> None:
        """See :class:`Seat`."""

    def wait_bound_s(self) -> float | None:
        """See :class:`Seat`."""
        return None

    def leave(self) -> None:
        """See :class:`Seat`."""

    def die(self) -> None:
        """See :class:`Seat`."""


class GroupSeat:
    """A place in a group. A member that expired takes a new one at its next look."""

    def __init__(self, cluster: MemoryCluster, options: ConsumerOptions, group: str, waiter: Waiter) -> None:
        self._cluster = cluster
        self._topics = options.topics
        self._subscription = subscription_of(options)
        self._name = group
        self._client = options.client_id or "consumer"
        self._timeouts = Timeouts(session_ns=None, poll_ns=int(options.max_poll_interval_s * _NS))
        self._session_ns = int(options.session_timeout_s * _NS)
        self._waiter = waiter
        self._group: Group | None = None
        self._member: Member | None = None
        self._must_look = True

    @property
    def member_id(self) -> str | None:
        """The id it has in the group now."""
        return self._member.id if self._member is not None else None

    def is_member(self) -> bool:
        """Whether the group still counts it in."""
        if self._group is None or self._member is None:
            return False
        self._expire(self._group)
        return self._member.id in self._group.members

    def take(self) -> None:
        """See :class:`Seat`."""
        for name in self._topics:
            self._cluster.topic_for(name)
        self._join()

    def _join(self) -> None:
        member_id = f"{self._client}-{self._cluster.new_id():06d}"
        self._group, self._member = self._cluster.groups.join(
            self._name, member_id, self._subscription, self._timeouts, self._now_ns(), self._client
        )
        self._cluster.members[self._name, member_id] = self._waiter
        self._cluster.spread_news(self._group)

    def look(self, held: frozenset[TopicPartition]) -> Entitlement | None:
        """See :class:`Seat`."""
        if self._group is not None and self._member is not None:
            self._expire(self._group)
            is_known = self._member.id in self._group.members
            if is_known and not self._must_look and self._member.id not in self._group.news:
                return None
            if not is_known:
                self._stand_up()
        if self._member is None:
            if held:
                return Entitlement(None, frozenset())
            self._join()
        assert self._group is not None
        assert self._member is not None
        seen = self._group.heartbeat(self._member.id, held, self._now_ns())
        if seen.revoking - held:  # it never got to hold them: the next heartbeat says so
            seen = self._group.heartbeat(self._member.id, held, self._now_ns())
        self._must_look = False
        self._cluster.spread_news(self._group)
        return Entitlement(seen.epoch, seen.partitions, seen.revoking, seen.is_complete)

    def _expire(self, group: Group) -> None:
        deadline_ns = group.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= self._now_ns():
            group.expire(self._now_ns())
            self._cluster.spread_news(group)

    def look_again(self) -> None:
        """See :class:`Seat`."""
        self._must_look = True

    def begin_poll(self) -> None:
        """See :class:`Seat`."""
        if self._group is not None and self._member is not None:
            self._group.polls(self._member.id)

    def end_poll(self) -> None:
        """See :class:`Seat`."""
        if self._group is not None and self._member is not None:
            self._group.polled(self._member.id, self._now_ns())

    def wait_bound_s(self) -> float | None:
        """See :class:`Seat`."""
        deadline_ns = self._group.next_deadline_ns if self._group is not None else None
        return None if deadline_ns is None else max(0.0, (deadline_ns - self._now_ns()) / _NS)

    def leave(self) -> None:
        """See :class:`Seat`."""
        if self._group is not None and self._member is not None:
            self._cluster.groups.leave(self._name, self._member.id, self._now_ns())
            self._stand_up()
            self._cluster.spread_news(self._group)

    def die(self) -> None:
        """See :class:`Seat`."""
        if self._group is not None and self._member is not None:
            self._group.silence(self._member.id, self._now_ns(), self._session_ns)
            self._stand_up()
            self._cluster.spread_news(self._group)

    def _stand_up(self) -> None:
        assert self._member is not None
        self._cluster.members.pop((self._name, self._member.id), None)
        self._member = None

    def _now_ns(self) -> int:
        return self._cluster.clock.monotonic_ns()
