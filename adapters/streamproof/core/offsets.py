"""What a group has committed: the next offset to read in each log. No clock, no lock.

Kept apart from membership, because every group protocol (the server-side one of ``groups``, the
classic one, clients without membership) and transactions store into the same place.

Offsets of a transaction are *pending* until it ends: nobody sees them, but everybody can know that
what is stored for their log may be about to change (KIP-447: *unstable*). When commits of both kinds
mix, the one that was made last wins, not the one whose transaction ended last.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streamproof.records import TopicPartition


class CommittedOffset(NamedTuple):
    """One stored offset; ``metadata`` is the client's own text and comes back as it was."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


class GroupOffsets:
    """The stored and pending offsets of one group."""

    __slots__ = ("_commits", "_made", "_pending", "_stored")

    def __init__(self) -> None:
        self._stored: dict[TopicPartition, CommittedOffset] = {}
        self._pending: dict[int, dict[TopicPartition, tuple[CommittedOffset, int]]] = {}
        self._commits = 0
        self._made: dict[TopicPartition, int] = {}  # which commit made what is stored

    def __len__(self) -> int:
        return len(self._stored)

    # -- at once ---------------------------------------------------------------------------

    def store(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Store each, over what was there, also below it: a group may be set back."""
        self._stored.update(offsets)
        self._commits += 1
        if self._pending:
            self._made.update(dict.fromkeys(offsets, self._commits))

    def find(self, partition: TopicPartition) -> CommittedOffset | None:
        """What is stored for this log."""
        return self._stored.get(partition)

    def all(self) -> Mapping[TopicPartition, CommittedOffset]:
        """Everything stored."""
        return dict(self._stored)

    # -- with a transaction ----------------------------------------------------------------

    @property
    def has_pending(self) -> bool:
        """Whether an open transaction stores here."""
        return bool(self._pending)

    def hold(self, producer_id: int, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Keep these for when the producer's transaction ends."""
        self._commits += 1
        pending = self._pending.setdefault(producer_id, {})
        for partition, offset in offsets.items():
            pending[partition] = (offset, self._commits)

    def settle(self, producer_id: int, is_commit: bool) -> None:
        """The producer's transaction ended: store or drop what it held here."""
        pending = self._pending.pop(producer_id, {})
        if is_commit:
            for partition, (offset, made) in pending.items():
                if made > self._made.get(partition, 0):
                    self._stored[partition] = offset
                    if self._pending:
                        self._made[partition] = made
        if not self._pending:
            self._made.clear()  # what comes from now on is newer than all that is stored

    def is_unstable(self, partition: TopicPartition) -> bool:
        """Whether an open transaction holds an offset for this log."""
        return any(partition in pending for pending in self._pending.values())

    # -- the end ---------------------------------------------------------------------------

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop these, stored and pending, if they are there."""
        for partition in partitions:
            self._stored.pop(partition, None)
            self._made.pop(partition, None)
            for pending in self._pending.values():
                pending.pop(partition, None)

    def forget_topic(self, topic: str) -> None:
        """Drop a deleted topic's: one created later under its name begins anew."""
        held = [partition for pending in self._pending.values() for partition in pending]
        self.forget([partition for partition in (*self._stored, *held) if partition.topic == topic])

    def clear(self) -> None:
        """Drop all: the group was unused for too long, or deleted."""
        self._stored.clear()
        self._pending.clear()
        self._made.clear()
