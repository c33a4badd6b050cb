"""Neighbouring records of one reader, as the poll checks compare them."""

import numpy as np

from streamproof_harness.history.codes import Array
from streamproof_harness.terms import Terms


def neighbours(terms: Terms, *, is_internal: bool) -> Array:
    """Which entries of the reading to compare with the one before: in the same poll, or across two.

    Two polls are compared within one session only: the first record of the later one with the last
    of the earlier one.
    """
    reading = terms.reading
    same_poll = np.zeros(len(reading.row), np.bool_)
    same_poll[1:] = reading.poll[1:] == reading.poll[:-1]
    if is_internal:
        return reading.continues & same_poll
    compared = reading.continues & ~same_poll
    compared[1:] &= reading.session[1:] == reading.session[:-1]
    return compared
