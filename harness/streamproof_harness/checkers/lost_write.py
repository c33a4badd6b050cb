"""lost-write: an acknowledged record that readers have gone past and nobody ever got."""

import numpy as np

from streamproof_harness.checkers.gone import expired_sends
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Sent, in some reader's range and at or below its log's highest polled position, polled by nobody.

    Trimmed records and those with an `expire` note are not lost. Evidence: sends that readers have
    gone past.
    """
    history = terms.history
    highest, poll_of_highest = _highest_polled(terms)
    at = np.flatnonzero(terms.is_effective & (terms.ack_place >= 0))
    at = at[history.sends.offset[at] <= highest[terms.send_log[at]]]
    at = at[terms.ranges.holds(terms.send_log[at], history.sends.offset[at])]
    lost = at[~terms.is_polled[at] & ~expired_sends(terms)[at]]
    words = Words(terms)

    def show(row: int) -> Example:
        log = int(terms.send_log[row])
        poll = int(poll_of_highest[log])
        text = (
            f"{words.send(row)} was acknowledged in {words.send_place(row)} and never polled, "
            f"though {words.poll_process(poll)} polled up to offset {int(highest[log])}"
        )
        done = int(history.sends.completed[row]), int(history.polls.completed[poll])
        return example(int(history.sends.invoked[row]), *done, text=text)

    return found(lost, show, evidence=len(at))


def _highest_polled(terms: Terms) -> tuple[Ints, Ints]:
    """For each log the highest offset that anybody polled (-1: none), and the row of a poll of it."""
    records = terms.history.records
    highest = np.full(terms.logs.count, -1, np.int64)
    np.maximum.at(highest, terms.record_log, records.offset)
    poll = np.full(terms.logs.count, -1, np.int64)
    is_highest = records.offset == highest[terms.record_log]
    poll[terms.record_log[is_highest]] = records.poll[is_highest]
    return highest, poll
