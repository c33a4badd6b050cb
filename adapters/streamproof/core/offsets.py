"""What a group has committed: the next offset to read in each log. No clock, no lock.

Kept apart from membership, because every group protocol (the server-side one of ``groups``, the
classic one, clients without membership) and transactions store into the same place.
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
    """The stored offsets of one group."""

    __slots__ = ("_stored",)

    def __init__(self) -> None:
        self._stored: dict[TopicPartition, CommittedOffset] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def store(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Store each, over what was there, also below it: a group may be set back."""
        self._stored.update(offsets)

    def find(self, partition: TopicPartition) -> CommittedOffset | None:
        """What is stored for this log."""
        return self._stored.get(partition)

    def all(self) -> Mapping[TopicPartition, CommittedOffset]:
        """Everything stored."""
        return dict(self._stored)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop these, if they are there."""
        for partition in partitions:
            self._stored.pop(partition, None)

    def forget_topic(self, topic: str) -> None:
        """Drop a deleted topic's: one created later under its name begins anew."""
        self.forget([partition for partition in self._stored if partition.topic == topic])

    def clear(self) -> None:
        """Drop all: the group was unused for too long, or deleted."""
        self._stored.clear()
