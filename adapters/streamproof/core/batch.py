"""One entry of a log: some consecutive records and what Kafka keeps in a record batch's header.

An entry holds its records in one of two forms. What Python wrote, a :class:`Batch`, stays a list of
``Record`` objects, shared with everybody who reads them, and is encoded only for a client of the
wire. What came over the wire, a :class:`WireBatch`, stays the bytes it came as, Kafka's record
batch (magic 2, KIP-98), and is decoded only for a reader in Python; besides its bytes it takes
about 180 bytes of memory, so that all else is read from its header when it is asked for.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from streamproof.records import Headers, RawRecord

RECORD_OVERHEAD = 10
"""Bytes that a small record takes in a record batch besides key, value and headers."""

BATCH_OVERHEAD = 61
"""Bytes of a record batch's header."""

_HEADER = struct.Struct(">qiiBIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and highest
timestamp, producer id, epoch, sequence, count."""

_PLACE = struct.Struct(">qii")
_TRANSACTIONAL = 0x10
_CONTROL = 0x20


class ProducerStamp(NamedTuple):
    """Who wrote a batch, in Kafka's terms; ``-1`` where the producer is not idempotent."""

    producer_id: int = -1
    epoch: int = -1
    sequence: int = -1
    is_transactional: bool = False


NO_PRODUCER = ProducerStamp()


class Batch(msgspec.Struct, gc=False, eq=False):
    """Records of Python at offsets ``base_offset <= o < end_offset`` of a log.

    ``records`` may miss some of these offsets (control records, compaction). The newest batch may
    grow until it ``is_sealed``. ``latest_ms`` is the highest timestamp up to its end, of this and
    all batches before it: it never falls along the log, so that times can be searched by halving.
    """

    base_offset: int
    end_offset: int
    size: int
    max_timestamp_ms: int
    latest_ms: int
    records: list[RawRecord]
    producer: ProducerStamp = NO_PRODUCER
    leader_epoch: int = 0
    is_control: bool = False
    is_aborted: bool = False
    is_sealed: bool = False


class WireBatch(msgspec.Struct, gc=False, eq=False):
    """A record batch as it came over the wire, with its place in the log written into it."""

    payload: bytes
    latest_ms: int
    is_aborted: bool = False

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.payload)

    @property
    def base_offset(self) -> int:
        """Its first offset."""
        base: int = _HEADER.unpack_from(self.payload)[0]
        return base

    @property
    def end_offset(self) -> int:
        """One past its last offset."""
        header = _HEADER.unpack_from(self.payload)
        end: int = header[0] + header[6] + 1
        return end

    @property
    def count(self) -> int:
        """How many offsets it takes, so how many sequences of its producer."""
        deltas: int = _HEADER.unpack_from(self.payload)[6]
        return deltas + 1

    @property
    def max_timestamp_ms(self) -> int:
        """The highest timestamp of its records."""
        highest: int = _HEADER.unpack_from(self.payload)[8]
        return highest

    @property
    def producer(self) -> ProducerStamp:
        """Who wrote it."""
        header = _HEADER.unpack_from(self.payload)
        return ProducerStamp(header[9], header[10], header[11], bool(header[5] & _TRANSACTIONAL))

    @property
    def is_control(self) -> bool:
        """Whether it holds a control record."""
        return bool(_HEADER.unpack_from(self.payload)[5] & _CONTROL)


AnyBatch = Batch | WireBatch

Decode = Callable[[WireBatch], list[RawRecord]]
"""Makes the records of a batch that came over the wire."""


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What a record counts for: retention by size and the record size limit use it."""
    size = RECORD_OVERHEAD + (len(key) if key else 0) + (len(value) if value else 0)
    for name, content in headers:
        size += len(name) + (len(content) if content else 0) + 2
    return size


def placed(payload: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """A record batch with its place written in. None of that is covered by the CRC."""
    length: int = _PLACE.unpack_from(payload)[1]
    return _PLACE.pack(base_offset, length, leader_epoch) + payload[_PLACE.size :]
