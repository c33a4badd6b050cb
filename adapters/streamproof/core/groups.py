"""Groups whose assignment is made by the server, in the manner of KIP-848.

A pure state machine: times are passed in (nanoseconds of any clock that does not go back), ids
too, and nothing is waited for. ``next_deadline_ns`` says when ``expire`` has work to do.

*The group's epoch* rises whenever its members, their subscriptions or the topics change; a new
target assignment belongs to it. *A member's epoch* follows, at its own ``heartbeat``:

1. logs it holds that are not in its target are to be revoked: it still holds them, and stays at its
   old epoch, until a heartbeat of its own no longer lists them among those it holds;
2. then it enters the group's epoch and is granted the logs of its target that nobody holds;
3. logs that another member still has to give up are granted at a later heartbeat, as soon as
   they are free.

So a log never has two holders, and who gets it holds it at a higher epoch than all before. A
member that misses a deadline is removed, and its logs are free at once: it is told that it lost
them when it comes back. ``news`` holds the members that a heartbeat has something to tell.

The classic protocol (JoinGroup, SyncGroup) is another state machine over the same offsets.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from streamproof.core.assignor import assign
from streamproof.errors import NotAssigned
from streamproof.records import GroupDescription, MemberDescription, TopicPartition


class UnknownMember(NotAssigned):
    """The group has no such member (any more)."""


class StaleEpoch(NotAssigned):
    """The member has been granted the log in a later epoch, or was not granted it yet."""


class NotHeld(NotAssigned):
    """The member does not hold this log."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics by name, or all whose whole name matches a pattern."""

    topics: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None

    def resolve(self, known: Iterable[str]) -> frozenset[str]:
        """The topics among ``known`` that are meant."""
        if self.pattern is None:
            return self.topics.intersection(known)
        return frozenset(name for name in known if self.pattern.fullmatch(name))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a member may be silent, and how long from one poll to the next, or for a revocation.

    ``session_ns`` of ``None``: its heartbeats are taken for granted, because it lives in the
    process of the group itself, until ``silence`` says that it died.
    """

    session_ns: int | None
    poll_ns: int | None


class Assignment(NamedTuple):
    """A member's view after a heartbeat: what it holds and keeps, and what it has to give up."""

    epoch: int
    partitions: frozenset[TopicPartition]
    revoking: frozenset[TopicPartition]
    is_complete: bool
    """Whether nothing of its target is still held by others."""


class Member:
    """One member. Its owner may read it; only its group changes it."""

    __slots__ = (
        "client_id",
        "epoch",
        "granted",
        "id",
        "poll_deadline_ns",
        "revoke_deadline_ns",
        "revoking",
        "session_deadline_ns",
        "subscription",
        "timeouts",
    )

    def __init__(self, identity: str, client_id: str, subscription: Subscription, timeouts: Timeouts) -> None:
        self.id = identity
        self.client_id = client_id
        self.subscription = subscription
        self.timeouts = timeouts
        self.epoch = 0
        self.granted: dict[TopicPartition, int] = {}
        self.revoking: frozenset[TopicPartition] = frozenset()
        self.session_deadline_ns: int | None = None
        self.poll_deadline_ns: int | None = None
        self.revoke_deadline_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        """The first of its deadlines."""
        deadlines = (self.session_deadline_ns, self.poll_deadline_ns, self.revoke_deadline_ns)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)


class Group:
    """One group: its members, who holds what, and who is to hold what."""

    def __init__(self, name: str, partition_counts: Mapping[str, int]) -> None:
        self.name = name
        self.epoch = 0
        self.members: dict[str, Member] = {}
        self.news: set[str] = set()
        self._partition_counts = dict(partition_counts)
        self._resolved: dict[str, frozenset[str]] = {}
        self._target: dict[str, frozenset[TopicPartition]] = {}
        self._target_of: dict[TopicPartition, str] = {}
        self._holders: dict[TopicPartition, str] = {}

    # -- membership ------------------------------------------------------------------------

    def join(
        self, member_id: str, subscription: Subscription, timeouts: Timeouts, now_ns: int, client_id: str = ""
    ) -> Member:
        """A new member; its first heartbeat tells its assignment."""
        assert member_id not in self.members, f"member id {member_id!r} is taken"
        member = self.members[member_id] = Member(member_id, client_id, subscription, timeouts)
        self._attend(member, now_ns)
        self.polled(member_id, now_ns)
        self._rebalance()
        return member

    def leave(self, member_id: str) -> None:
        """The member goes in an orderly way; its logs are free at once. Unknown ones are ignored."""
        if member_id in self.members:
            self._remove((member_id,))

    def heartbeat(self, member_id: str, held: frozenset[TopicPartition], now_ns: int) -> Assignment:
        """The member lives and holds ``held``: what it was to revoke and does not list is released.

        Raises :class:`UnknownMember` when it expired: it holds nothing, and must join again.
        """
        member = self._member(member_id)
        self._attend(member, now_ns)
        self.news.discard(member_id)
        released = [partition for partition in member.revoking - held if partition in member.granted]
        self._release(member, released)
        target = self._target[member_id]
        member.revoking = frozenset(member.granted.keys() - target)
        if member.revoking:
            if member.revoke_deadline_ns is None and member.timeouts.poll_ns is not None:
                member.revoke_deadline_ns = now_ns + member.timeouts.poll_ns
        else:
            member.revoke_deadline_ns = None
            member.epoch = self.epoch
            self._grant(member, target)
        keeps = frozenset(member.granted.keys() - member.revoking)
        return Assignment(member.epoch, keeps, member.revoking, keeps == target)

    def polls(self, member_id: str) -> None:
        """The member is inside a poll: it may wait there as long as it likes."""
        if member_id in self.members:
            self.members[member_id].poll_deadline_ns = None

    def polled(self, member_id: str, now_ns: int) -> None:
        """The member works on what it polled: the time to its next poll runs."""
        member = self.members.get(member_id)
        if member is not None and member.timeouts.poll_ns is not None:
            member.poll_deadline_ns = now_ns + member.timeouts.poll_ns

    def silence(self, member_id: str, now_ns: int, session_ns: int) -> None:
        """No heartbeat will come any more: the member died without a word, and expires when its
        session does."""
        member = self.members.get(member_id)
        if member is not None:
            member.session_deadline_ns = now_ns + session_ns
            member.poll_deadline_ns = None
            self.news.update(self.members)

    def expire(self, now_ns: int) -> list[str]:
        """Remove the members whose deadline has passed; who they are."""
        late = [
            member.id
            for member in self.members.values()
            if member.deadline_ns is not None and member.deadline_ns <= now_ns
        ]
        if late:
            self._remove(late)
        return late

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``expire`` has something to do, unless heartbeats and polls come before."""
        deadlines = [member.deadline_ns for member in self.members.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # -- topics ----------------------------------------------------------------------------

    def topics_changed(self, partition_counts: Mapping[str, int], deleted: Set[str] = frozenset()) -> None:
        """The topics are these now. Logs of ``deleted`` ones are gone at once, also if a topic of the
        same name is there again."""
        before = self._meant()
        self._partition_counts = dict(partition_counts)
        is_affected = False
        for member in self.members.values():
            gone = [partition for partition in member.granted if partition.topic in deleted]
            self._release(member, gone)
            is_affected |= bool(gone)
            self._resolved[member.id] = member.subscription.resolve(partition_counts)
        if is_affected or self._meant() != before:
            self._rebalance()

    # -- offsets ---------------------------------------------------------------------------

    def require_holder(self, member_id: str, epoch: int, partitions: Iterable[TopicPartition]) -> None:
        """The fence before a commit: each log must be held by this member, and have been when it
        was in ``epoch``. A member that has not entered the newest epoch yet still commits what it
        kept all along (KIP-1251). Raises a :class:`NotAssigned`."""
        member = self._member(member_id)
        for partition in partitions:
            since = member.granted.get(partition)
            place = f"{partition.topic}[{partition.partition}]"
            if since is None:
                raise NotHeld(
                    f"{place} is not held by {member_id!r} in group {self.name!r}: nothing was stored; "
                    "the log's records are delivered to the member that holds it"
                )
            if not since <= epoch <= member.epoch:
                raise StaleEpoch(
                    f"{place} was granted to {member_id!r} in generation {since} of group {self.name!r}, "
                    f"not in {epoch}: nothing was stored"
                )

    # -- telling ---------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``empty``, ``stable``, or ``reconciling`` while members have not reached their target."""
        if not self.members:
            return "empty"
        is_settled = all(
            member.epoch == self.epoch and member.granted.keys() == self._target[member.id]
            for member in self.members.values()
        )
        return "stable" if is_settled else "reconciling"

    def describe(self) -> GroupDescription:
        """The group with the logs each member holds."""
        members = [
            MemberDescription(member.id, tuple(sorted(member.granted)))
            for member in sorted(self.members.values(), key=lambda member: member.id)
        ]
        return GroupDescription(self.name, self.state, self.epoch, members)

    # -- inside ----------------------------------------------------------------------------

    def _member(self, member_id: str) -> Member:
        member = self.members.get(member_id)
        if member is None:
            raise UnknownMember(
                f"group {self.name!r} has no member {member_id!r} any more: it was silent for longer than "
                "its session timeout, did not poll within max_poll_interval_s, or left; it has to join again"
            )
        return member

    def _attend(self, member: Member, now_ns: int) -> None:
        session_ns = member.timeouts.session_ns
        member.session_deadline_ns = None if session_ns is None else now_ns + session_ns

    def _remove(self, member_ids: Iterable[str]) -> None:
        for member_id in member_ids:
            member = self.members.pop(member_id)
            self._release(member, list(member.granted))
            self._resolved.pop(member_id, None)
            self.news.discard(member_id)
        self._rebalance()

    def _release(self, member: Member, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            del member.granted[partition]
            del self._holders[partition]
            taker = self._target_of.get(partition)
            if taker in self.members:
                self.news.add(taker)

    def _grant(self, member: Member, target: frozenset[TopicPartition]) -> None:
        for partition in target:
            if partition not in self._holders:
                self._holders[partition] = member.id
                member.granted[partition] = member.epoch

    def _rebalance(self) -> None:
        """A new epoch with a new target for everybody."""
        self.epoch += 1
        self._resolved = {
            member.id: member.subscription.resolve(self._partition_counts) for member in self.members.values()
        }
        self._target = assign(self._resolved, self._partition_counts, self._target_of)
        self._target_of = {
            partition: member_id for member_id, target in self._target.items() for partition in target
        }
        self.news.update(self.members)

    def _meant(self) -> dict[str, dict[str, int | None]]:
        """The topics that each member reads, and how many partitions they have."""
        return {
            member_id: {topic: self._partition_counts.get(topic) for topic in topics}
            for member_id, topics in self._resolved.items()
        }
