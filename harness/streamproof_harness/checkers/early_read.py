"""early-read: a record was shown to a read-committed reader while its transaction was still open."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.terms.transactions import ABORTED, NEVER
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Polled by a read-committed poll that completed before its transaction's commit was invoked.

    A transaction that was aborted and whose commit was never invoked is open until its `end`: what
    is read of it later is an `aborted-read` alone. One anomaly for each polled record. Evidence:
    records of transactions in read-committed polls.
    """
    history, txns = terms.history, terms.transactions
    is_undone = (txns.state == ABORTED) & (txns.commit_at == NEVER)
    closing = np.where(is_undone, txns.over_at, txns.commit_at)
    rows = terms.read_committed_of_txns
    done = history.polls.completed[history.records.poll[rows]]
    early = rows[done < closing[terms.record_txn[rows]]]
    words = Words(terms)

    def show(row: int) -> Example:
        poll, txn = int(history.records.poll[row]), int(terms.record_txn[row])
        commit = int(txns.commit_at[txn])
        ending = "was committed" if commit < NEVER else "was open, and it never was committed"
        before = "before" if commit < NEVER else "while"
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)} "
            f"{before} {words.txn(txn)}, which sent it, {ending}"
        )
        sent = int(history.sends.invoked[terms.record_send[row]])
        last = commit if commit < NEVER else sent
        return example(int(history.polls.completed[poll]), last, text=text)

    return found(early, show, evidence=len(rows))
