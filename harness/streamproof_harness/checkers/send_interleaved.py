"""send-interleaved: between two records of a transaction stands one of somebody else."""

import numpy as np

from streamproof_harness.checkers.producer_reorder import in_lanes
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Another's record stands between two of one transaction.

    Another's: of another transaction or of none. One anomaly for each pair of neighbours of one
    transaction in a log with something in between. Evidence: such pairs.
    """
    in_log = sends_by_place(terms)
    rank = np.arange(len(in_log))
    own = np.flatnonzero(terms.send_txn[in_log] >= 0)
    lane = terms.send_txn[in_log[own]] * np.int64(terms.logs.count) + terms.place_log[in_log[own]]
    own, starts = in_lanes(own, lane)
    split = np.flatnonzero(~starts & (np.diff(rank[own], prepend=0) > 1))
    words = Words(terms)
    sends = terms.history.sends

    def show(at: int) -> Example:
        first, last = int(own[at - 1]), int(own[at])
        one, other, between = (int(in_log[number]) for number in (first, last, first + 1))
        text = (
            f"{words.txn(int(terms.send_txn[one]))} sent {words.send(one)} and {words.send(other)} to "
            f"{terms.logs.name(int(terms.place_log[one]))}, and {words.send(between)} of "
            f"{words.sender(between)} stands between them"
        )
        return example(*(int(sends.invoked[row]) for row in (one, between, other)), text=text)

    return found(split, show, evidence=len(own) - int(np.count_nonzero(starts)))


def sends_by_place(terms: Terms) -> Ints:
    """The effective sends whose place is known, log by log in the order in which they stand."""
    rows = np.flatnonzero(terms.is_effective & (terms.send_place >= 0))
    at = np.full(terms.places.count, -1, np.int64)
    at[terms.send_place[rows[::-1]]] = rows[::-1]  # of several at one place the first counts
    return at[at >= 0]
