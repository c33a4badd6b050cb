"""The numbers that stand for things in the columns of a decoded history."""

import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamproof_harness.history import OPS, TYPES

Ints = NDArray[np.int64]
Array = NDArray[Any]
Content = bytes | mmap.mmap

ABSENT: Final = -(2**63)
"""An optional field that is not there. (Offsets, partitions and interned names use -1.)"""
NULL: Final = ABSENT + 1
"""A key or CRC that is null."""

INVOKE, OK, FAIL, INFO, NOTE = range(5)
"""Codes of the event types."""
OPEN: Final = INVOKE
"""The outcome of a call that never completed; the others are OK, FAIL and INFO."""

OP: Final = {op: number for number, op in enumerate(OPS)}
"""Codes of the operations."""
KIND: Final = {(type_, op): code * 32 + OP[op] for code, type_ in enumerate(TYPES) for op in OPS}
"""Type and operation in one number: ``type * 32 + op``."""

SETTLING: Final = ("ack", "nack", "reject")
IN_COLUMNS: Final = ("send", "poll", "handle", *SETTLING)
"""Operations that are decoded into columns; the rest stays as `Event` structs."""


class Interned(dict[Any, int]):
    """Gives every distinct value the next number, from 0, in the order they come."""

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number


def key_hash(key: str | bytes | None) -> int:
    """The number under which a plain key (see `history.plain_key`) stands in the columns."""
    if key is None:
        return NULL
    # bytes that are no text must not hash like the text of the same Latin-1 letters
    return hash(key) if isinstance(key, str) else hash(("bytes", key))
