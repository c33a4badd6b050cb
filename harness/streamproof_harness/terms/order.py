"""Sort small numbers in linear time."""

from typing import Final

import numpy as np

from streamproof_harness.history.codes import Array, Ints

_DIGIT: Final = 16
_TABLE: Final = 1 << 22


def stable_order(numbers: Array) -> Ints:
    """The stable order of numbers that are not negative.

    numpy sorts 16-bit integers by radix. Larger numbers are sorted by their digits of 16 bits, the
    lowest first, as long as that is cheaper than comparing.
    """
    most = int(numbers.max(initial=0))
    if most >= 1 << (2 * _DIGIT):
        return np.argsort(numbers, kind="stable")
    order: Ints = np.argsort((numbers & 0xFFFF).astype(np.uint16), kind="stable")
    if most < 1 << _DIGIT:
        return order
    high = (numbers >> _DIGIT).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def occurring(numbers: Array) -> Ints:
    """Which numbers, none of them negative, occur: each once, rising."""
    most = int(numbers.max(initial=-1))
    if most >= max(_TABLE, 4 * len(numbers)):
        return np.unique(numbers)
    occurs = np.zeros(most + 1, np.bool_)
    occurs[numbers] = True
    return np.flatnonzero(occurs)


def numbered(*columns: Array) -> Ints:
    """One number for each distinct combination, from 0."""
    if not len(columns[0]):
        return np.empty(0, np.int64)
    order = np.lexsort(columns)
    fresh = np.zeros(len(order), np.bool_)
    for column in columns:
        ranked = column[order]
        fresh[1:] |= ranked[1:] != ranked[:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(fresh)
    return numbers
