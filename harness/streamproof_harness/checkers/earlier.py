"""Compare what came later with what was certainly done before it began."""

from dataclasses import dataclass

import numpy as np

from streamproof_harness.checkers.producer_reorder import behind, in_lanes
from streamproof_harness.history.codes import Ints


@dataclass(frozen=True, slots=True)
class Overtaken:
    """`late`: rows that came too late, rising; `earlier`: for each the row that was ahead of it.

    `compared`: how many rows follow another of their lane.
    """

    late: Ints
    earlier: Ints
    compared: int


def overtaken(lane: Ints, value: Ints, begun: Ints, done: Ints, *, or_equal: bool = False) -> Overtaken:
    """Rows whose value lies below the highest of their lane among those done before they began.

    `begun` and `done` are event indexes; `or_equal`: an equal value counts as well. Linear, but for
    sorting by `done` what is nearly sorted already.
    """
    order = np.argsort(done, kind="stable")
    rows, starts = in_lanes(order, lane[order])
    compared = len(rows) - int(np.count_nonzero(starts))
    rank = np.unique(value, return_inverse=True)[1] if int(value.max(initial=0)) >= 2**31 else value
    # Only what lies behind another that was done earlier can have begun after that.
    late, _ = behind(rank[rows], starts)
    if not len(late):
        return Overtaken(late, late, compared)
    number = np.cumsum(starts) - 1
    lifted = number * (int(rank.max()) + 1) + rank[rows]
    highest = np.maximum.accumulate(lifted)
    raised = np.where(np.concatenate([[True], lifted[1:] > highest[:-1]]), np.arange(len(rows)), 0)
    raised = np.maximum.accumulate(raised)
    # The last one of the lane that was done before this one began.
    span = int(max(done.max(), begun.max())) + 2
    last = np.searchsorted(number * span + done[rows], number[late] * span + begun[rows[late]]) - 1
    first = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))[late]
    top = rows[raised[np.maximum(last, 0)]]
    late_rows = rows[late]
    is_behind = rank[late_rows] <= rank[top] if or_equal else rank[late_rows] < rank[top]
    is_late = (last >= first) & is_behind
    by_row = np.argsort(late_rows[is_late], kind="stable")
    return Overtaken(late_rows[is_late][by_row], top[is_late][by_row], compared)


def highest_until(lane: Ints, when: Ints, value: Ints, asked_lane: Ints, asked_when: Ints) -> Ints:
    """For each question the highest value of its lane up to an event; -1: none. Values are not negative."""
    if not len(lane):
        return np.full(len(asked_lane), -1, np.int64)
    order = np.lexsort((when, lane))
    span = int(max(when.max(), asked_when.max(initial=0))) + 2
    width = int(value.max()) + 1
    highest = np.maximum.accumulate(lane[order] * width + value[order])
    at = np.searchsorted(lane[order] * span + when[order], asked_lane * span + asked_when, side="right") - 1
    found = (at >= 0) & (lane[order[np.maximum(at, 0)]] == asked_lane)
    return np.where(found, highest[np.maximum(at, 0)] - asked_lane * width, -1)
