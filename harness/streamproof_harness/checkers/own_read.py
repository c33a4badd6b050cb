"""own-read: a transaction was shown, as committed, what it had sent itself."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A transaction polled, read-committed, what it sent itself.

    A poll that names the transaction and was under way when its `end` was invoked may show what
    that end committed. One anomaly for each polled record. Evidence: read-committed polls that
    belong to transactions.
    """
    history, txns, coverage = terms.history, terms.transactions, terms.coverage
    polls = history.polls
    rows = terms.read_committed_of_txns
    # What was polled after the end by a poll of no name is not the transaction's: few are left.
    poll = history.records.poll[rows]
    sender = terms.record_txn[rows]
    is_near = (polls.completed[poll] < txns.over_at[sender]) | (polls.txn[poll] == sender)
    rows, poll, sender = rows[is_near], poll[is_near], sender[is_near]
    at, txn = coverage.pairs_of(poll)
    own = at[(txn == sender[at]) & ~_is_under_way(terms, poll[at], txn)]
    words = Words(terms)

    def show(row: int) -> Example:
        poll = int(history.records.poll[row])
        text = (
            f"{words.poll_process(poll)} polled {words.record(row)} from {words.record_place(row)} within "
            f"{words.txn(int(terms.record_txn[row]))}, which sent it"
        )
        sent = int(history.sends.invoked[terms.record_send[row]])
        return example(sent, int(polls.completed[poll]), text=text)

    evidence = np.count_nonzero(~polls.uncommitted[coverage.poll])
    return found(rows[own], show, evidence=int(evidence))


def _is_under_way(terms: Terms, poll: Ints, txn: Ints) -> Array:
    """Whether a poll was under way when the end of the transaction was invoked."""
    polls, over = terms.history.polls, terms.transactions.over_at[txn]
    answer: Array = (polls.invoked[poll] < over) & (over < polls.completed[poll])
    return answer
