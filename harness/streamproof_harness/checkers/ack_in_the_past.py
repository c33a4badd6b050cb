"""ack-in-the-past: a record was put before others that were there when it was sent."""

import numpy as np

from streamproof_harness.checkers.earlier import overtaken
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import OK
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A send acknowledged at an offset not above every offset of that log acknowledged before it was
    invoked.

    One anomaly for each send. Evidence: acknowledged sends that follow another to their log.
    """
    sends = terms.history.sends
    acked = np.flatnonzero(terms.is_effective & (sends.outcome == OK) & (terms.ack_place >= 0))
    result = overtaken(
        terms.send_log[acked],
        terms.ack_place[acked],
        sends.invoked[acked],
        sends.completed[acked],
        or_equal=True,
    )
    before = dict(zip(acked[result.late].tolist(), acked[result.earlier].tolist(), strict=True))
    words = Words(terms)

    def show(row: int) -> Example:
        earlier = before[row]
        text = (
            f"{words.send(row)} was acknowledged in {words.send_place(row)}, though {words.send(earlier)} "
            f"had been acknowledged at offset {int(sends.offset[earlier])} before it was sent"
        )
        events = int(sends.completed[earlier]), int(sends.invoked[row]), int(sends.completed[row])
        return example(*events, text=text)

    return found(acked[result.late], show, evidence=result.compared)
