"""The values that pass through the seam: records, places in a log, receipts.

All of them are immutable. Kafka's words are used wherever Kafka has one. Times are
milliseconds since the Unix epoch (``timestamp_ms``), as in Kafka's record format (KIP-32).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from streamproof.errors import UsageError

K = TypeVar("K")
V = TypeVar("V")

Headers = tuple[tuple[str, bytes | None], ...]
"""Header name and value, in the order they were sent; one name may stand more than once."""


class TopicPartition(NamedTuple):
    """One partition of one topic: a *log*."""

    topic: str
    partition: int


class Record(msgspec.Struct, Generic[K, V], frozen=True, gc=False):
    """One record as a consumer sees it.

    ``offset`` is ``None`` where the backend tells none (a RabbitMQ group reads plain queues).
    ``attempt`` counts the deliveries of this record to this consumer that this consumer knows
    of, from 1; ``is_redelivered`` is also true where the broker says so. ``token`` belongs to
    the driver: what it needs to acknowledge the record.
    """

    topic: str
    partition: int
    offset: int | None
    key: K
    value: V
    timestamp_ms: int = 0
    headers: Headers = ()
    attempt: int = 1
    is_redelivered: bool = False
    token: object = None

    @property
    def topic_partition(self) -> TopicPartition:
        """The log this record stands in."""
        return TopicPartition(self.topic, self.partition)

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or ``None`` (Kafka's ``lastHeader``)."""
        for found, value in reversed(self.headers):
            if found == name:
                return value
        return None


RawRecord = Record[bytes | None, bytes | None]
"""A record as drivers return it: key and value are the bytes that were sent, or ``None``."""


class Outgoing(msgspec.Struct, Generic[K, V], frozen=True, gc=False):
    """One record to send with ``send_many``: what ``send`` takes, as a value."""

    value: V
    key: K | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class GroupMembership(NamedTuple):
    """A member of a group, as a transaction names it. ``native`` is the client library's own form,
    where it has one."""

    group: str
    member_id: str
    generation: int
    native: Any = None


RawOutgoing = Outgoing[bytes | None, bytes | None]


class Receipt(NamedTuple):
    """Where an acknowledged record stands. ``offset`` is ``None`` where the backend tells none."""

    topic: str
    partition: int
    offset: int | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class AtTime:
    """A place in a log: the first record whose timestamp is at or after this time."""

    timestamp_ms: int


Position = int | Literal["beginning", "end"] | AtTime
"""Where to read from: an offset, either end, or a time."""


def position_of(place: Position | datetime) -> Position:
    """The position that ``place`` names; a ``datetime`` must be aware of its time zone.

    Raises :class:`UsageError` for what names no place.
    """
    if isinstance(place, datetime):
        if place.tzinfo is None:
            raise UsageError(f"{place!r} has no time zone: pass an aware datetime, e.g. tz=timezone.utc")
        return AtTime(int(place.timestamp() * 1000))
    is_offset = type(place) is int and place >= 0
    if is_offset or isinstance(place, AtTime) or place in ("beginning", "end"):
        return place
    raise UsageError(
        f"{place!r} is no place in a log: give an offset, 'beginning', 'end', AtTime or a datetime"
    )


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The ends of a log: the first offset that is still there, and the one after the last readable."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create. ``None`` leaves a setting to the backend's default."""

    name: str
    partitions: int = 1
    replication: int | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    is_compacted: bool = False


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the backend describes it; retention is ``None`` where there is no limit or none is told."""

    name: str
    partitions: int
    retention_ms: int | None = None
    retention_bytes: int | None = None
    is_compacted: bool = False


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """One member of a group and the logs it holds."""

    member_id: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group: its state in the backend's word, its generation if there is one, its members."""

    name: str
    state: str
    generation: int | None
    members: Sequence[MemberDescription]
