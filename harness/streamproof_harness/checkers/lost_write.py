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
    highest, poll_of_highest = terms.highest_polled
    at = gone_past(terms)
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

    return found(lost(terms, at), show, evidence=len(at))


def gone_past(terms: Terms) -> Ints:
    """The effective sends at or below the highest polled position of their log that a reader had to see."""
    offset = terms.history.sends.offset
    highest, _ = terms.highest_polled
    at = np.flatnonzero(terms.is_effective & (terms.ack_place >= 0))
    at = at[offset[at] <= highest[terms.send_log[at]]]
    return at[terms.ranges.holds(terms.send_log[at], offset[at])]


def lost(terms: Terms, passed: Ints) -> Ints:
    """Those of the sends that readers went past that nobody polled, and that did not expire."""
    return passed[~terms.is_polled[passed] & ~expired_sends(terms)[passed]]
