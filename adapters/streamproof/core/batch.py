"""One entry of a log: some consecutive records and what Kafka keeps in a record batch's header.

An entry holds its records in one of two forms. What Python wrote stays a list of ``Record``
objects, shared with everybody who reads them, and is encoded only for a client of the wire.
What came over the wire stays the bytes it came as, Kafka's record batch (magic 2, KIP-98), and is
decoded only for a reader in Python. Memory for each batch is about 300 bytes besides its records.
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

_BASE_OFFSET = struct.Struct(">q")
_LEADER_EPOCH = struct.Struct(">i")


class ProducerStamp(NamedTuple):
    """Who wrote a batch, in Kafka's terms; ``-1`` where the producer is not idempotent."""

    producer_id: int = -1
    epoch: int = -1
    sequence: int = -1
    is_transactional: bool = False


NO_PRODUCER = ProducerStamp()


class Batch(msgspec.Struct, gc=False, eq=False):
    """Consecutive offsets ``base_offset <= o < end_offset`` of a log.

    ``records`` may miss some of these offsets (control records, compaction). The newest batch may
    grow until it ``is_sealed``. ``latest_ms`` is the highest timestamp up to its end, of this and
    all batches before it: it never falls along the log, so that times can be searched by halving.
    """

    base_offset: int
    end_offset: int
    size: int
    max_timestamp_ms: int
    latest_ms: int
    records: list[RawRecord] | None
    payload: bytes | None = None
    producer: ProducerStamp = NO_PRODUCER
    leader_epoch: int = 0
    is_control: bool = False
    is_aborted: bool = False
    is_sealed: bool = False


Decode = Callable[[Batch], list[RawRecord]]
"""Makes the records of a batch that came over the wire."""


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What a record counts for: retention by size and the record size limit use it."""
    size = RECORD_OVERHEAD + (len(key) if key else 0) + (len(value) if value else 0)
    for name, content in headers:
        size += len(name) + (len(content) if content else 0) + 2
    return size


def stamp_payload(payload: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """A record batch with its place written in. Neither field is covered by the CRC."""
    return b"".join(
        (_BASE_OFFSET.pack(base_offset), payload[8:12], _LEADER_EPOCH.pack(leader_epoch), payload[16:])
    )
