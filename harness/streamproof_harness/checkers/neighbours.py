"""Neighbouring records of one reader, as the poll checks compare them."""

import numpy as np

from streamproof_harness.codes import Ints
from streamproof_harness.terms import Terms


def neighbours(terms: Terms, *, is_internal: bool) -> Ints:
    """Entries of the reading to compare with the one before: in the same poll, or across two.

    Two polls are compared within one session only: the first record of the later one with the last
    of the earlier one.
    """
    reading = terms.reading
    if not len(reading.row):
        return np.empty(0, np.int64)
    same_poll = np.zeros(len(reading.row), np.bool_)
    same_poll[1:] = reading.poll[1:] == reading.poll[:-1]
    if is_internal:
        return np.flatnonzero(reading.continues & same_poll)
    compared = reading.continues & ~same_poll
    compared[1:] &= reading.session[1:] == reading.session[:-1]
    return np.flatnonzero(compared)
