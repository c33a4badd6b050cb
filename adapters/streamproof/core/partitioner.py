"""Kafka's default partitioner: murmur2 of the key, so that a key lands alike from every client.

The hash is the 32-bit murmur2 of ``org.apache.kafka.common.utils.Utils`` with its seed, and the
partition is ``toPositive(hash) % partitions``, as in Kafka's ``BuiltInPartitioner`` and in
librdkafka's ``murmur2_random``. Plain Python takes about 1.4 µs for a key of ten bytes, so hashes
of recent keys are remembered (a bounded memo of a pure function), and batches of unseen keys are
hashed with numpy where it is installed. The results are the same either way.
"""

import sys
from collections.abc import Sequence
from typing import Any

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_SHIFT = 24
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF

_MEMO_KEYS = 65_536
"""Hashes remembered at most."""

_MEMO_KEY_BYTES = 128
"""Longer keys are hashed each time, so that the memo holds a few megabytes at most."""

_STALE_AFTER = 4
"""A full memo starts afresh once so many times its size in unseen keys went by: then the keys have
changed. Sooner, and a stream of ever new keys would pay for storing each of them in vain."""

_COLUMN_KEYS = 48
"""From so many unseen keys on, numpy's fixed cost a call is worth paying."""

_COLUMN_KEY_BYTES = 64
"""Longer keys would widen every row of numpy's table: a batch that has one is hashed plainly."""

_IMPORT_AFTER = 50_000
"""Importing numpy takes as long as hashing so many keys plainly: before, it is used only if the
program has imported it already."""


class _Memo:
    """Hashes by key. Dictionary operations are atomic and a lost entry is only hashed again, so
    threads share it without a lock; the counters may lose a count."""

    __slots__ = ("hashes", "limit", "unseen")

    def __init__(self, limit: int = _MEMO_KEYS) -> None:
        self.hashes: dict[bytes, int] = {}
        self.limit = limit
        self.unseen = 0

    def remember(self, keys: Sequence[bytes], hashes: Sequence[int]) -> None:
        """Keep what fits. ``hashes`` are positive and belong to ``keys``, in order."""
        self.unseen += len(keys)
        if len(self.hashes) + len(keys) > self.limit:
            if self.unseen < self.limit * (_STALE_AFTER + 1) or len(keys) > self.limit:
                return
            self.hashes.clear()
            self.unseen = len(keys)
        self.hashes.update(zip(keys, hashes, strict=True))


_memo = _Memo()
_np: Any = None


def murmur2(data: bytes) -> int:
    """The hash as Kafka's Java client prints it: a signed 32-bit number."""
    unsigned = _hash(data)
    return unsigned - (1 << 32) if unsigned & 0x80000000 else unsigned


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of a record with this key in a topic of ``partitions`` partitions."""
    positive = _memo.hashes.get(key)
    if positive is None:
        positive = _hash(key) & _POSITIVE
        if len(key) <= _MEMO_KEY_BYTES:
            _memo.remember((key,), (positive,))
    return positive % partitions


def partitions_for(keys: Sequence[bytes], partitions: int) -> list[int]:
    """``partition_for`` of each key, in order, at a fraction of its cost a key."""
    found = list(map(_memo.hashes.get, keys))
    if None not in found:
        return [positive % partitions for positive in found]  # type: ignore[operator]
    unseen = [key for key, positive in zip(keys, found, strict=True) if positive is None]
    longest = max(map(len, unseen))
    hashed = _hash_all(unseen, longest)
    if longest <= _MEMO_KEY_BYTES:
        _memo.remember(unseen, hashed)
    if len(unseen) == len(found):
        return [positive % partitions for positive in hashed]
    rest = iter(hashed)
    return [(next(rest) if positive is None else positive) % partitions for positive in found]


def _hash_all(keys: Sequence[bytes], longest: int) -> list[int]:
    """The positive hashes of ``keys``, the longest of which has ``longest`` bytes."""
    if len(keys) < _COLUMN_KEYS or longest > _COLUMN_KEY_BYTES or not _has_numpy():
        return [_hash(key) & _POSITIVE for key in keys]
    return _hash_columns(keys)


def _has_numpy() -> bool:
    global _np  # the module, once it is worth importing
    if _np is None and ("numpy" in sys.modules or _memo.unseen > _IMPORT_AFTER):
        try:
            import numpy
        except ImportError:
            _np = False
        else:
            _np = numpy
    return bool(_np)


def _hash(data: bytes) -> int:
    """One key, word by word (Austin Appleby's MurmurHash2, the 32-bit one)."""
    length = len(data)
    mixed = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _WORD
        word = (word ^ (word >> _SHIFT)) * _MULTIPLIER & _WORD
        mixed = (mixed * _MULTIPLIER & _WORD) ^ word
    if whole < length:
        mixed = (mixed ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _WORD
    mixed = (mixed ^ (mixed >> 13)) * _MULTIPLIER & _WORD
    return mixed ^ (mixed >> 15)


def _hash_columns(keys: Sequence[bytes]) -> list[int]:
    """Many keys at once: a table with a row a key, zero-padded, walked word column by word column.

    The padding makes the tail of a key, its last one to three bytes, a word like the others.
    """
    lengths = _np.fromiter(map(len, keys), _np.uint32, len(keys))
    words = int(lengths.max()) // 4 + 1
    table = _np.array(keys, dtype=f"S{words * 4}").view("<u4").reshape(len(keys), words)
    multiplier = _np.uint32(_MULTIPLIER)
    mixed = _np.uint32(_SEED) ^ lengths
    whole = lengths >> _np.uint32(2)
    for column in range(words):
        word = table[:, column] * multiplier
        word = (word ^ (word >> _np.uint32(_SHIFT))) * multiplier
        mixed = _np.where(whole > column, mixed * multiplier ^ word, mixed)
    tail = table[_np.arange(len(keys)), whole]
    mixed = _np.where(lengths & _np.uint32(3) != 0, (mixed ^ tail) * multiplier, mixed)
    mixed = (mixed ^ (mixed >> _np.uint32(13))) * multiplier
    hashes: list[int] = ((mixed ^ (mixed >> _np.uint32(15))) & _np.uint32(_POSITIVE)).tolist()
    return hashes
