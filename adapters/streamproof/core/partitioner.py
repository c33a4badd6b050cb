"""Kafka's default partitioner: murmur2 of the key, so that a key lands alike from every client.

The hash is the 32-bit murmur2 of ``org.apache.kafka.common.utils.Utils`` with its seed, and the
partition is ``toPositive(hash) % partitions``, as in Kafka's ``BuiltInPartitioner`` and in
librdkafka's ``murmur2_random``. Plain Python takes about 1.4 µs for a key of ten bytes, so hashes
of recent keys are remembered (a bounded memo of a pure function), and batches of unseen keys are
hashed with numpy where it is installed. The results are the same either way.
"""

import sys
from collections.abc import Sequence
from struct import Struct
from typing import Any, cast

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

_SKIPS = 15
"""Batches hashed without being looked up, after one that was looked up in vain in a full memo."""

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

    __slots__ = ("hashes", "limit", "skips", "unseen")

    def __init__(self, limit: int = _MEMO_KEYS) -> None:
        self.hashes: dict[bytes, int] = {}
        self.limit = limit
        self.unseen = 0
        self.skips = 0
        """Batches that are not looked up, because hardly a key of the one before them was found."""

    def remember(self, keys: Sequence[bytes], hashes: Sequence[int]) -> None:
        """Keep what fits. ``hashes`` are positive and belong to ``keys``, in order."""
        self.unseen += len(keys)
        if len(self.hashes) + len(keys) > self.limit:
            if self.unseen < self.limit * (_STALE_AFTER + 1) or len(keys) > self.limit:
                return
            self.hashes.clear()
            self.unseen = len(keys)
        self.hashes.update(zip(keys, hashes, strict=True))

    def missed(self, unseen: int, looked_up: int) -> None:
        """So many of the keys of a batch were not found."""
        if unseen * 8 > looked_up * 7 and len(self.hashes) + unseen > self.limit:
            self.skips = _SKIPS


_memo = _Memo()
_UNPACK = [Struct(f"<{count}I").unpack_from for count in range(32)]
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
            if len(_memo.hashes) < _memo.limit:
                _memo.hashes[key] = positive
            else:
                _memo.remember((key,), (positive,))
    return positive % partitions


def partitions_for(keys: Sequence[bytes | None], partitions: int) -> list[int]:
    """``partition_for`` of each key, in order, at a fraction of its cost a key; -1 where it is ``None``."""
    if _memo.skips > 0 and len(keys) >= _COLUMN_KEYS and _has_numpy():
        _memo.skips -= 1
        columns = _columns(keys)
        if columns is not None:
            _memo.unseen += len(keys)
            placed: list[int] = (columns % partitions).tolist()
            return placed
    found = list(map(_memo.hashes.get, cast("Sequence[bytes]", keys)))
    try:
        # A missing hash fails here, which is cheaper than looking for one in a list of numbers.
        return [positive % partitions for positive in cast("list[int]", found)]
    except TypeError:
        return _place_unseen(keys, found, partitions)


def _place_unseen(keys: Sequence[bytes | None], found: list[int | None], partitions: int) -> list[int]:
    unseen = [key for key, positive in zip(keys, found, strict=True) if positive is None and key is not None]
    if not unseen:
        return [-1 if positive is None else positive % partitions for positive in found]
    columns = _columns(unseen) if len(unseen) >= _COLUMN_KEYS and _has_numpy() else None
    hashed: list[int] = [_hash(key) & _POSITIVE for key in unseen] if columns is None else columns.tolist()
    _memo.missed(len(unseen), len(keys))
    if max(map(len, unseen)) <= _MEMO_KEY_BYTES:
        _memo.remember(unseen, hashed)
    if len(unseen) == len(found):
        return [positive % partitions for positive in hashed]
    rest = iter(hashed)
    return [
        positive % partitions if positive is not None else -1 if key is None else next(rest) % partitions
        for key, positive in zip(keys, found, strict=True)
    ]


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
    count = length >> 2
    unpack = _UNPACK[count] if count < len(_UNPACK) else Struct(f"<{count}I").unpack_from
    mixed = _SEED ^ length
    for word in unpack(data):
        word = word * 0x5BD1E995 & 0xFFFFFFFF  # the constants, which are faster than their names here
        mixed = (mixed * 0x5BD1E995 ^ (word ^ (word >> 24)) * 0x5BD1E995) & 0xFFFFFFFF
    if length & 3:
        mixed = (mixed ^ int.from_bytes(data[length & ~3 :], "little")) * _MULTIPLIER & _WORD
    mixed = (mixed ^ (mixed >> 13)) * _MULTIPLIER & _WORD
    return mixed ^ (mixed >> 15)


def _columns(keys: Sequence[bytes | None]) -> Any:
    """The positive hashes of many keys, as an array: a table with a row a key, zero-padded, walked
    word column by word column. The padding makes the tail of a key, its last one to three bytes, a
    word like the others. ``None`` if a key is missing or too long for a table."""
    try:
        lengths = set(map(len, cast("Sequence[bytes]", keys)))
    except TypeError:
        return None
    longest = max(lengths)
    if longest > _COLUMN_KEY_BYTES:
        return None
    if len(lengths) > 1:
        return _hash_ragged(cast("Sequence[bytes]", keys), longest)
    multiplier = _np.uint32(_MULTIPLIER)
    table = _np.zeros((len(keys), longest // 4 * 4 + 4), _np.uint8)
    joined = b"".join(cast("Sequence[bytes]", keys))
    table[:, :longest] = _np.frombuffer(joined, _np.uint8).reshape(len(keys), longest)
    words = table.view("<u4")
    mixed = _np.full(len(keys), _SEED ^ longest, _np.uint32)
    for column in range(longest // 4):
        mixed = mixed * multiplier ^ _mix_word(words[:, column], multiplier)
    if longest % 4:
        mixed = (mixed ^ words[:, longest // 4]) * multiplier
    return _finish(mixed, multiplier)


def _hash_ragged(keys: Sequence[bytes], longest: int) -> Any:
    """``_columns`` of keys of different lengths: a row stops changing where its key ends."""
    multiplier = _np.uint32(_MULTIPLIER)
    lengths = _np.fromiter(map(len, keys), _np.uint32, len(keys))
    columns = longest // 4 + 1
    words = _np.array(keys, dtype=f"S{columns * 4}").view("<u4").reshape(len(keys), columns)
    mixed = _np.uint32(_SEED) ^ lengths
    whole = lengths >> _np.uint32(2)
    for column in range(columns):
        grown = mixed * multiplier ^ _mix_word(words[:, column], multiplier)
        mixed = _np.where(whole > column, grown, mixed)
    tail = words[_np.arange(len(keys)), whole]
    mixed = _np.where(lengths & _np.uint32(3) != 0, (mixed ^ tail) * multiplier, mixed)
    return _finish(mixed, multiplier)


def _mix_word(words: Any, multiplier: Any) -> Any:
    mixed = words * multiplier
    return (mixed ^ (mixed >> _np.uint32(_SHIFT))) * multiplier


def _finish(mixed: Any, multiplier: Any) -> Any:
    mixed = (mixed ^ (mixed >> _np.uint32(13))) * multiplier
    return (mixed ^ (mixed >> _np.uint32(15))) & _np.uint32(_POSITIVE)
