"""All groups of a cluster, with what they committed. Times are passed in; no I/O, no lock.

A group that has neither members nor progress counts as dead, but its epoch is kept: a group that comes
to life again under the same name must not use a generation twice. Offsets of a group without
members are dropped after ``OFFSETS_RETENTION_NS`` (Kafka's ``offsets.retention.minutes``, seven days).
"""

from collections.abc import Mapping, Set

from streamproof.core.groups import Group, Member, StaleEpoch, Subscription, Timeouts
from streamproof.core.offsets import CommittedOffset, GroupOffsets
from streamproof.errors import BackendError
from streamproof.records import GroupDescription, TopicPartition

OFFSETS_RETENTION_NS = 7 * 24 * 3600 * 1_000_000_000


class GroupNotEmpty(BackendError):
    """The group has members (``NON_EMPTY_GROUP``)."""


class UnknownGroup(BackendError):
    """There is no such group (``GROUP_ID_NOT_FOUND``)."""


class GroupCoordinator:
    """Groups by name."""

    def __init__(self, offsets_retention_ns: int = OFFSETS_RETENTION_NS) -> None:
        self._groups: dict[str, Group] = {}
        self._offsets: dict[str, GroupOffsets] = {}
        self._empty_since_ns: dict[str, int] = {}
        self._offsets_retention_ns = offsets_retention_ns
        self._partition_counts: Mapping[str, int] = {}

    def join(
        self,
        name: str,
        member_id: str,
        subscription: Subscription,
        timeouts: Timeouts,
        now_ns: int,
        client_id: str = "",
    ) -> tuple[Group, Member]:
        """A new member of the group of that name."""
        self.expire(now_ns)
        self._empty_since_ns.pop(name, None)
        group = self._group(name)
        return group, group.join(member_id, subscription, timeouts, now_ns, client_id)

    def leave(self, name: str, member_id: str, now_ns: int) -> None:
        """A member goes in an orderly way."""
        self._group(name).leave(member_id)
        self._note_if_empty(name, now_ns)

    def find(self, name: str) -> Group | None:
        """The group of that name, if it has or had members."""
        return self._groups.get(name)

    def commit(
        self,
        name: str,
        member_id: str | None,
        epoch: int,
        offsets: Mapping[TopicPartition, CommittedOffset],
        now_ns: int,
    ) -> None:
        """Store a member's progress, or anybody's (``None``) where the group has no members.

        Raises a :class:`NotAssigned`, and then nothing was stored.
        """
        group = self._group(name)
        if member_id is not None or group.members:
            group.require_holder(member_id or "", epoch, offsets)
        self._offsets.setdefault(name, GroupOffsets()).store(offsets)
        self._empty_since_ns.pop(name, None)
        self._note_if_empty(name, now_ns)

    # -- offsets of transactions: for the transaction coordinator --------------------------

    def hold(
        self,
        name: str,
        producer_id: int,
        member_id: str,
        epoch: int,
        offsets: Mapping[TopicPartition, CommittedOffset],
    ) -> None:
        """Keep a member's progress until the producer's transaction ends. Clients that know no
        membership (a negative ``epoch``, and no ``member_id`` unless the group has no members) are not
        fenced (KIP-447).

        Raises a :class:`NotAssigned`, and then nothing was kept.
        """
        is_known = name in self._groups or name in self._offsets
        if epoch >= 0 and not is_known:
            raise StaleEpoch(f"there is no group {name!r}, so no generation {epoch} of it: nothing was kept")
        if epoch >= 0 or (member_id and self._group(name).members):
            self._group(name).require_holder(member_id, epoch, offsets)
        self._offsets.setdefault(name, GroupOffsets()).hold(producer_id, offsets)

    def settle(self, name: str, producer_id: int, is_commit: bool, now_ns: int) -> None:
        """The producer's transaction ended: its offsets are the group's progress now, or gone."""
        offsets = self._offsets.get(name)
        if offsets is not None:
            offsets.settle(producer_id, is_commit)
        if offsets and is_commit:
            self._group(name)
            self._empty_since_ns.pop(name, None)
            self._note_if_empty(name, now_ns)

    def is_unstable(self, name: str, partition: TopicPartition) -> bool:
        """Whether an open transaction may be about to change what is committed there: who begins to
        read there has to wait (``UNSTABLE_OFFSET_COMMIT``)."""
        offsets = self._offsets.get(name)
        return offsets is not None and offsets.has_pending and offsets.is_unstable(partition)

    # -- what is there ---------------------------------------------------------------------

    def committed(self, name: str, partition: TopicPartition) -> CommittedOffset | None:
        """What the group stored for this log."""
        offsets = self._offsets.get(name)
        return None if offsets is None else offsets.find(partition)

    def topics_changed(self, partition_counts: Mapping[str, int], deleted: Set[str] = frozenset()) -> None:
        """Tell every group which topics there are; progress in deleted ones is dropped."""
        self._partition_counts = dict(partition_counts)
        for topic in deleted:
            for offsets in self._offsets.values():
                offsets.forget_topic(topic)
        for group in self._groups.values():
            group.topics_changed(partition_counts, deleted)

    def expire(self, now_ns: int) -> None:
        """Remove members whose deadline passed, and progress that nobody used for too long."""
        for name, group in self._groups.items():
            group.expire(now_ns)
            self._note_if_empty(name, now_ns)
        for name, since in list(self._empty_since_ns.items()):
            if now_ns - since >= self._offsets_retention_ns and not self._has_pending(name):
                self._offsets.pop(name, None)
                del self._empty_since_ns[name]

    def delete(self, name: str) -> None:
        """Delete a group with its progress, also what an open transaction was to store.

        Raises :class:`GroupNotEmpty` while it has members, :class:`UnknownGroup` if it is dead.
        """
        group = self._groups.get(name)
        if group is not None and group.members:
            raise GroupNotEmpty(f"group {name!r} has members: stop them, or wait until they expired")
        if not self._offsets.get(name) and not self._has_pending(name):
            raise UnknownGroup(f"there is no group {name!r}")
        del self._offsets[name]
        self._empty_since_ns.pop(name, None)

    def _has_pending(self, name: str) -> bool:
        offsets = self._offsets.get(name)
        return offsets is not None and offsets.has_pending

    def names(self) -> list[str]:
        """Groups that have members or stored progress, sorted."""
        active = {name for name, group in self._groups.items() if group.members}
        return sorted(active | {name for name, offsets in self._offsets.items() if offsets})

    def describe(self, name: str) -> GroupDescription:
        """The group; ``dead`` if there is none."""
        group = self._groups.get(name)
        if group is None or not (group.members or self._offsets.get(name)):
            return GroupDescription(name, "dead", None, ())
        return group.describe()

    def _group(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self._partition_counts)
        return group

    def _note_if_empty(self, name: str, now_ns: int) -> None:
        if not self._groups[name].members and self._offsets.get(name):
            self._empty_since_ns.setdefault(name, now_ns)
