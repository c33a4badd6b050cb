"""Numbers that depend on a seed, a purpose and a place in the sequence, and on nothing else.

A workload must send the same bytes for one seed on every machine, Python version and
``PYTHONHASHSEED``, and its oracle must be able to ask what message 4,711 was without making the
4,711 before it. So the draws are a function of their place: BLAKE2b (RFC 7693), keyed with the
seed, personalised with the purpose, of the number of the block. ``random.Random`` has neither
random access nor, beyond ``random()`` and ``getrandbits()``, a promise that its methods keep their
sequences between Python versions. No floating point takes part.
"""

import hashlib
import struct
from collections.abc import Iterator

Block = tuple[int, ...]
"""Eight draws, each a whole number of 64 bits."""

DRAWS_IN_BLOCK = 8

CHANCE_MASK = (1 << 20) - 1
"""The bits of a draw that are compared with a ``chance``."""

_unpack = struct.Struct("<8Q").unpack


class Draws:
    """An endless sequence of 64-bit draws with random access; safe to share between threads."""

    __slots__ = ("_start",)

    def __init__(self, seed: int, purpose: str) -> None:
        """``seed``: 0 to 2**64 - 1; ``purpose``: at most 16 ASCII letters, one for each use."""
        key = seed.to_bytes(8, "little")
        self._start = hashlib.blake2b(key=key, person=purpose.encode("ascii"))

    def block(self, index: int) -> Block:
        """The draws ``8 * index`` to ``8 * index + 7``."""
        state = self._start.copy()
        state.update(index.to_bytes(8, "little"))
        return _unpack(state.digest())

    def at(self, number: int) -> int:
        """Draw ``number``. One hash: about as dear as a whole block."""
        return self.block(number >> 3)[number & 7]

    def run(self, block: int, count: int) -> Iterator[int]:
        """``count`` draws from the beginning of a block on, a block at a time."""
        end = block + (count >> 3)
        for index in range(block, end):
            yield from self.block(index)
        if count & 7:
            yield from self.block(end)[: count & 7]


def below(limit: int, draw: int) -> int:
    """A whole number from 0 to ``limit - 1`` from a 64-bit draw (multiply and shift, no rejection).

    The bias is at most ``limit / 2**64``.
    """
    return draw * limit >> 64


def chance(share: float) -> int:
    """The limit below which the 20 lowest bits of a draw fall with this probability (0 to 1)."""
    return round(share * (CHANCE_MASK + 1))
