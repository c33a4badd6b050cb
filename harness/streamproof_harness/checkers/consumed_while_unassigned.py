"""consumed-while-unassigned: a process got records of a log that was not its own."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A record polled from a log that the process held at no time of the poll.

    Processes without any `assign` are never unassigned. Evidence: polled records of the others.
    """
    records, polls = terms.history.records, terms.history.polls
    at = np.flatnonzero(terms.assignments.assigned[polls.process[records.poll]])
    poll, log = records.poll[at], terms.record_log[at]
    fresh = np.ones(len(at), np.bool_)  # one question for each run of records of one poll and log
    fresh[1:] = (poll[1:] != poll[:-1]) | (log[1:] != log[:-1])
    asked = poll[fresh]
    held = terms.assignments.held(
        polls.process[asked], log[fresh], polls.invoked[asked], polls.completed[asked]
    )
    strange = at[~held[np.cumsum(fresh) - 1]]
    words = Words(terms)

    def show(row: int) -> Example:
        poll = int(records.poll[row])
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)}, "
            "which was not assigned to it"
        )
        return example(int(polls.invoked[poll]), int(polls.completed[poll]), text=text)

    return found(strange, show, evidence=len(at))
