"""unseen: a record that stands and that no reader had got when everything was drained."""

import numpy as np

from streamproof_harness.checkers.gone import expired_sends
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Sent, within a reader's range, not polled by the end; decided only by a complete drain afterwards.

    A drain that names its groups decides for what their readers had to see. Records with an
    `expire` note are not missing. Evidence: sends within a reader's range.
    """
    sends = terms.history.sends
    at = np.flatnonzero(terms.is_effective & (terms.home >= 0))
    offsets = np.where(terms.send_log[at] >= 0, sends.offset[at], -1)
    at = at[terms.ranges.holds(terms.home[at], offsets) | terms.is_polled[at]]
    missing = at[~terms.is_polled[at] & ~expired_sends(terms)[at]]
    drained = missing[sends.completed[missing] < terms.drained_at]
    if len(drained):
        ranges = terms.ranges_of(terms.drained_groups)
        drained = drained[ranges.holds(terms.send_log[drained], sends.offset[drained])]
    words = Words(terms)

    def show(row: int) -> Example:
        text = (
            f"{words.send(row)} was acknowledged in {words.send_place(row)}, and nobody had polled it "
            "when everything was drained"
        )
        events = int(sends.invoked[row]), int(sends.completed[row]), terms.drained_at
        return example(*events, text=text)

    undecided = ""
    if len(missing) > len(drained):
        undecided = f"{len(missing)} sent records were not polled, and no complete drain follows them"
    return found(drained, show, evidence=len(at), undecided=undecided)
