"""aborted-read (G1a): a record of an aborted transaction was shown to a read-committed reader."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.transactions import ABORTED
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A read-committed poll returned an id whose transaction was aborted.

    One anomaly for each polled record. Evidence: records of aborted transactions, acknowledged in a
    log, that read-committed readers of it went past.
    """
    history, txns = terms.history, terms.transactions
    if not (txns.state == ABORTED).any():
        return Finding()
    rows = terms.read_committed_of_txns
    rows = rows[txns.state[terms.record_txn[rows]] == ABORTED]
    words = Words(terms)

    def show(row: int) -> Example:
        poll, txn = int(history.records.poll[row]), int(terms.record_txn[row])
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)}, and "
            f"{words.txn(txn)}, which sent it, was aborted"
        )
        return example(int(history.polls.completed[poll]), int(txns.decided_at[txn]), text=text)

    return found(rows, show, evidence=_passed(terms))


def _passed(terms: Terms) -> int:
    """How many aborted records stand at or below what was read, committed records only, of their log."""
    sends, records = terms.history.sends, terms.history.records
    aborted: Ints = sends.txn.rows[terms.transactions.state[sends.txn.values] == ABORTED]
    aborted = aborted[terms.ack_place[aborted] >= 0]
    loose = terms.history.polls.uncommitted[records.poll]
    is_read = ~loose & (records.offset >= 0)
    highest = np.full(terms.logs.count, -1, np.int64)
    np.maximum.at(highest, terms.record_log[is_read], records.offset[is_read])
    return int(np.count_nonzero(sends.offset[aborted] <= highest[terms.send_log[aborted]]))
