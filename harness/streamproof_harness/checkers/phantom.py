"""phantom: a polled id that nobody sent in this run."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """One anomaly for each id. Evidence: polled records."""
    history = terms.history
    unsent = np.flatnonzero(terms.record_send < 0)
    _, first = np.unique(history.records.id[unsent], return_index=True)
    words = Words(terms)

    def show(row: int) -> Example:
        poll = int(history.records.poll[row])
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)}, "
            "and nobody sent it"
        )
        return example(int(history.polls.completed[poll]), text=text)

    return found(unsent[np.sort(first)], show, evidence=len(terms.record_send))
