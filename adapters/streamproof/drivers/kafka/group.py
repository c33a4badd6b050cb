"""What Kafka's clients tell about a group, in the seam's words."""

import re
import struct
from collections.abc import Iterable

from streamproof.errors import NotAssigned
from streamproof.records import GroupMembership, TopicPartition

_MAGIC = b"CGMDv2:"
_GENERATION = struct.Struct("<i")

NO_GENERATION = -1
"""Kafka's word for a reader outside of its group."""


def generation_of(metadata: bytes) -> int | None:
    """The generation (classic groups) or member epoch (KIP-848) inside librdkafka's serialised
    ``rd_kafka_consumer_group_metadata_t``; ``None`` outside a group, or in an unknown format.

    The client offers no other way to it. The format: ``CGMDv2:``, a little-endian int32, then
    group, member and instance as zero-terminated text (``rdkafka_cgrp.c``).
    """
    if not metadata.startswith(_MAGIC) or len(metadata) < len(_MAGIC) + _GENERATION.size:
        return None
    generation: int = _GENERATION.unpack_from(metadata, len(_MAGIC))[0]
    return generation if generation >= 0 else None


def membership_of(metadata: bytes, group: str) -> GroupMembership:
    """The member inside of the same metadata, which goes along: librdkafka's producers want it whole.
    Outside of a group the generation is :data:`NO_GENERATION`, and the member has no name."""
    generation = generation_of(metadata)
    if generation is None:
        return GroupMembership(group, "", NO_GENERATION, metadata)
    _, member_id, *_ = metadata[len(_MAGIC) + _GENERATION.size :].split(b"\0")
    return GroupMembership(group, member_id.decode(), generation, metadata)


def require_member(member: GroupMembership) -> None:
    """Raise :class:`NotAssigned` outside of the group: brokers would take the offsets of a reader that
    names no generation without looking whether it still holds the logs (KIP-447)."""
    if member.generation < 0:
        raise NotAssigned(
            f"this consumer is no member of group {member.group} now, so its progress cannot be stored in a "
            "transaction: drop what is in flight and poll on"
        )


def state_word(name: str) -> str:
    """A group's state as one lower-case word: ``"stable"``, ``"preparing-rebalance"``, …"""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return spaced.replace("_", "-").replace(" ", "-").lower()


class HeldLogs:
    """The whole assignment of one consumer, kept from what its client adds and takes away.

    ``version`` changes with every loss of a log, so that a poll in progress knows that records it
    has taken may belong to others by now.
    """

    def __init__(self) -> None:
        self._held: set[TopicPartition] = set()
        self._sorted: tuple[TopicPartition, ...] = ()
        self.version = 0

    def __contains__(self, partition: object) -> bool:
        return partition in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def all(self) -> tuple[TopicPartition, ...]:
        """Every log held now, sorted."""
        return self._sorted

    def add(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """These logs came; returns those that were not held before, sorted."""
        new = sorted(set(partitions) - self._held)
        self._held.update(new)
        self._sorted = tuple(sorted(self._held))
        return new

    def remove(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """These logs went; returns those that were held, sorted."""
        gone = sorted(self._held.intersection(partitions))
        self._held.difference_update(gone)
        self._sorted = tuple(sorted(self._held))
        if gone:
            self.version += 1
        return gone
