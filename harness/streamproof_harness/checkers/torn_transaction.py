"""torn-transaction: of one transaction a part was seen, and another part is lost."""

import numpy as np

from streamproof_harness.checkers.lost_write import gone_past, lost
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Of a committed or proven transaction some records were seen, another is a `lost-write`.

    One anomaly for each transaction. Evidence: transactions that stand, of which records were seen,
    and whose logs readers went past one of their records.
    """
    history = terms.history
    seen = _one_of_each(terms, np.flatnonzero(terms.is_polled & terms.is_effective))
    passed = gone_past(terms)
    missing = _one_of_each(terms, lost(terms, passed))
    torn = np.flatnonzero((seen >= 0) & (missing >= 0))
    words = Words(terms)

    def show(txn: int) -> Example:
        one, other = int(seen[txn]), int(missing[txn])
        text = (
            f"of {words.txn(txn)}, which was committed, {words.send(one)} was polled, but "
            f"{words.send(other)} in {words.send_place(other)} was not, though readers went past it"
        )
        record = int(np.flatnonzero(terms.record_send == one)[0])
        polled = int(history.polls.completed[history.records.poll[record]])
        return example(polled, int(history.sends.completed[other]), text=text)

    exercised = (seen >= 0) & (_one_of_each(terms, passed) >= 0)
    return found(torn, show, evidence=int(np.count_nonzero(exercised)))


def _one_of_each(terms: Terms, sends: Ints) -> Ints:
    """For each transaction the first of `sends` that it sent, -1: none."""
    txn = terms.send_txn[sends]
    sends, txn = sends[txn >= 0], txn[txn >= 0]
    first = np.full(len(terms.txn_numbers), -1, np.int64)
    first[txn[::-1]] = sends[::-1]
    return first
