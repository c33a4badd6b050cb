"""hanging-transaction: something that never ends keeps readers from the end of a log."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history import LogOffset
from streamproof_harness.terms import Terms
from streamproof_harness.terms.transactions import NAMES
from streamproof_harness.verdict import Example, Finding

_Hanging = tuple[LogOffset, int]
"""A stable end that lies too low, and the end of that log."""


def judge(terms: Terms, contract: Contract) -> Finding:
    """After the last complete drain a stable end lies below the end.

    One anomaly for each log. Evidence: logs whose two ends the drain tells.
    """
    drains = [note for note in terms.history.notes_of.get("drained", ()) if note.complete]
    if not drains:
        return Finding()
    ends = {(place.topic, place.partition): place.offset for place in drains[-1].ends or ()}
    compared = [
        (place, ends[place.topic, place.partition])
        for place in drains[-1].stable_ends or ()
        if (place.topic, place.partition) in ends
    ]
    hanging = [(stable, end) for stable, end in compared if stable.offset < end]
    words = Words(terms)

    def show(number: int) -> Example:
        return _show(terms, words, hanging[number])

    return finding(len(hanging), range(len(hanging)), show, evidence=len(compared))


def _show(terms: Terms, words: Words, hanging: _Hanging) -> Example:
    stable, end = hanging
    log = terms.logs.find(stable.topic, stable.partition)
    text = (
        f"when everything was drained, {terms.logs.name(log)} ended at offset {end}, "
        f"and its stable end was {stable.offset}"
    )
    sends, state = terms.history.sends, terms.transactions.state
    held = np.flatnonzero((terms.send_log == log) & (sends.offset >= stable.offset) & (terms.send_txn >= 0))
    if not len(held):
        return example(terms.drained_at, text=text)
    row = int(held[np.argmin(sends.offset[held])])
    txn = int(terms.send_txn[row])
    text += (
        f"; the first transaction with a record from there on is {words.txn(txn)} "
        f"({NAMES[state[txn]]}), which sent {words.send(row)}"
    )
    return example(terms.drained_at, int(sends.completed[row]), text=text)
