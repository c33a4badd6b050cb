"""producer-reorder and internal-producer-reorder: a producer's sends stand in another order than sent."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.order import stable_order
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """One process' later send to a log stands at or before an earlier one.

    Later: invoked later. One anomaly for each later send. Evidence: sends that follow another of
    the same process to the same log.
    """
    rows = np.flatnonzero(terms.is_effective & (terms.send_place >= 0))
    return _judge(terms, rows, terms.history.sends.process[rows])


def judge_internal(terms: Terms, contract: Contract) -> Finding:
    """The same within one transaction."""
    txn = terms.history.sends.txn
    stands = terms.is_effective[txn.rows] & (terms.send_place[txn.rows] >= 0)
    return _judge(terms, txn.rows[stands], txn.values[stands])


def _judge(terms: Terms, rows: Ints, owner: Ints) -> Finding:
    lane = owner * np.int64(terms.logs.count) + terms.place_log[rows]
    rows, starts = in_lanes(rows, lane)
    place = terms.send_place[rows]
    late, highest = behind(place, starts)
    words = Words(terms)
    sends = terms.history.sends

    def show(at: int) -> Example:
        before, after = int(rows[highest[at]]), int(rows[at])
        text = (
            f"{terms.history.names.processes[int(sends.process[after])]} sent {words.send(before)} and then "
            f"{words.send(after)} to {terms.logs.name(int(terms.place_log[after]))}, and the later one "
            "stands at or before the earlier"
        )
        events = [int(sends.invoked[before]), int(sends.invoked[after])]
        ends = int(sends.completed[before]), int(sends.completed[after])
        return example(*events, *ends, text=text)

    return found(late, show, evidence=len(rows) - int(starts.sum()))


def in_lanes(rows: Ints, lane: Array) -> tuple[Ints, Array]:
    """`rows` sorted by lane, in their order within each, and which of them begin a lane."""
    order = stable_order(lane)
    ranked = lane[order]
    starts = np.ones(len(rows), np.bool_)
    starts[1:] = ranked[1:] != ranked[:-1]
    return rows[order], starts


def behind(value: Ints, starts: Array) -> tuple[Ints, Ints]:
    """Where a value is at or below an earlier one of its lane, and for each where the highest stood."""
    if not len(value):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rises = value[1:] > value[:-1]
    if bool((rises | starts[1:]).all()):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    lane = np.cumsum(starts)
    lifted = lane * (int(value.max()) + 2) + value
    highest = np.maximum.accumulate(lifted)
    late = np.flatnonzero((lifted[1:] <= highest[:-1]) & ~starts[1:]) + 1
    # The place of the running maximum: the last entry that raised it.
    raised = np.where(np.concatenate([[True], lifted[1:] > highest[:-1]]), np.arange(len(value)), 0)
    return late, np.concatenate([[0], np.maximum.accumulate(raised)[:-1]])
