"""How transactions ended.

*Committed* if an `end` with ``commit: true`` is ok; *aborted* if an `end` with ``commit: false`` is
ok or the commit certainly failed; else *unknown*, and *proven* committed once a read-committed
poll returned one of its records.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamproof_harness.history.codes import FAIL, OK, Array, Ints
from streamproof_harness.history.tables import RareCall

UNKNOWN, PROVEN, COMMITTED, ABORTED = range(4)
NAMES: Final = ("unknown", "proven", "committed", "aborted")


def declared_states(count: int, numbers: dict[str, int], ends: Sequence[RareCall]) -> Array:
    """The state of each transaction as its `end` calls tell it, before any is proven."""
    states = np.full(count, UNKNOWN, np.uint8)
    for end in ends:
        number = numbers[str(end.invoked.txn)]
        if end.outcome == OK:
            # A commit that is ok outweighs everything; an abort never turns it back.
            if end.invoked.commit:
                states[number] = COMMITTED
            elif states[number] != COMMITTED:
                states[number] = ABORTED
        elif end.outcome == FAIL and end.invoked.commit and states[number] == UNKNOWN:
            states[number] = ABORTED
    return states


def prove(states: Array, read_committed: Ints) -> Array:
    """Turn unknown transactions, of which a read-committed poll returned a record, to PROVEN."""
    states = states.copy()
    polled = np.unique(read_committed)
    states[polled[states[polled] == UNKNOWN]] = PROVEN
    return states


def stands(states: Array) -> Array:
    """Whether the records of each transaction count."""
    standing: Array = (states == COMMITTED) | (states == PROVEN)
    return standing
