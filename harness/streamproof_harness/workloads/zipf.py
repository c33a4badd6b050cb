"""Popularity by Zipf's law, drawn exactly.

Rank ``r`` (from 1) has the weight ``floor(2**64 / r**s)``, a whole number; a draw is looked up in
the table of their running sums. Only integers are used, because ``pow`` of two floats may differ
in its last bit between platforms. That is why the exponent ``s`` is a multiple of 1/8: its root is
three integer square roots. Source: G. K. Zipf, *Human Behavior and the Principle of Least Effort*
(1949); inversion by table, as in L. Devroye, *Non-Uniform Random Variate Generation*, III.2.
"""

from bisect import bisect_right
from itertools import accumulate
from math import isqrt

EXPONENT_STEP = 0.125
_UNIT_BITS = 64


def weight(rank: int, eighths: int) -> int:
    """``floor(2**64 / rank**(eighths / 8))`` for ``rank`` ≥ 1, in exact arithmetic.

    A root of a floor is the floor of the root, so the three roots may be taken one by one.
    """
    return isqrt(isqrt(isqrt((1 << 8 * _UNIT_BITS) // rank**eighths)))


class Zipf:
    """Ranks 0 (the most popular) to ``count - 1``; memory proportional to ``count``."""

    __slots__ = ("_running", "_total")

    def __init__(self, count: int, exponent: float) -> None:
        """``exponent``: a multiple of 1/8, 0 (all alike) or more."""
        eighths = round(exponent / EXPONENT_STEP)
        self._running = list(accumulate(weight(rank, eighths) for rank in range(1, count + 1)))
        self._total = self._running[-1]

    def __len__(self) -> int:
        return len(self._running)

    def rank(self, draw: int) -> int:
        """The rank that a 64-bit draw falls on."""
        return bisect_right(self._running, draw * self._total >> 64)
