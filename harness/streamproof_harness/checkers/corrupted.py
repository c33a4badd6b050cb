"""corrupted: a record came with another key or value than it was sent with."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import ABSENT
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A polled key or CRC differs from what was sent. Evidence: polled records that tell either.

    A key in Base64 equals the text of the same bytes.
    """
    records, sends = terms.history.records, terms.history.sends
    told = (records.crc != ABSENT) | (records.key != ABSENT)
    at = np.flatnonzero(told & (terms.record_send >= 0) & terms.counts)
    send = terms.record_send[at]
    wrong_crc = (records.crc[at] != ABSENT) & (records.crc[at] != sends.crc[send])
    wrong_key = (records.key[at] != ABSENT) & (records.key[at] != sends.key[send])
    keys = dict(zip(at.tolist(), wrong_key.tolist(), strict=True)) if wrong_key.any() else {}
    words = Words(terms)

    def show(row: int) -> Example:
        poll = int(records.poll[row])
        part = "key" if keys.get(row) else "value"
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)} "
            f"with another {part} than it was sent with"
        )
        sent = int(sends.invoked[terms.record_send[row]])
        return example(sent, int(terms.history.polls.completed[poll]), text=text)

    return found(at[wrong_crc | wrong_key], show, evidence=len(at))
