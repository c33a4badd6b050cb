"""Which polls belong to which transaction.

A poll belongs to the transaction that it names. One that names none belongs to those that cover
its process: a transaction covers the polls of the ``consumers`` of its `begin` since their last
commit or rewind, and those of the process that began it since its `begin`; both until its first
`end` is invoked (completed by then: what a later poll returns may be due to that end).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import FAIL, OK, Array, Ints
from streamproof_harness.terms.transactions import Transactions

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(frozen=True, slots=True)
class Coverage:
    """Pairs of a poll (row) and a transaction that it belongs to, by poll.

    `is_bound`: the transaction is to take the poll back if it aborts: the poll names it, or its
    process is one of the ``consumers``. `is_shared`: by transaction, whether another one covered
    polls of the same process at the same time, so that only what it names itself is surely its own.
    """

    poll: Ints
    txn: Ints
    is_bound: Array
    is_shared: Array

    def pairs_of(self, polls: Ints) -> tuple[Ints, Ints]:
        """For each of `polls` all its transactions: rows of `polls`, and the transactions."""
        start = np.searchsorted(self.poll, polls)
        count = np.searchsorted(self.poll, polls, side="right") - start
        row = np.repeat(np.arange(len(polls)), count)
        return row, self.txn[spread(start, count)]


def spread(start: Ints, count: Ints) -> Ints:
    """The numbers ``start, start + 1, …``, `count` of them, for each row one after the other."""
    before = np.cumsum(count) - count
    numbers: Ints = np.arange(int(count.sum())) + np.repeat(start - before, count)
    return numbers


def coverage_of(terms: Terms) -> Coverage:
    """Find the transactions of all polls."""
    polls, txns = terms.history.polls, terms.transactions
    named = np.flatnonzero(polls.txn >= 0)
    parts = [(named, polls.txn[named], np.ones(len(named), np.bool_))]
    is_shared = np.zeros(len(txns.names), np.bool_)
    process, txn, is_named = _covering(txns)
    order = np.argsort(process, kind="stable")
    free = np.flatnonzero((polls.txn < 0) & (polls.completed >= 0))
    by_process = free[np.argsort(polls.process[free], kind="stable")]
    starts = np.searchsorted(polls.process[by_process], np.arange(len(terms.processes) + 1))
    ends_by_process = _ends_by_process(terms)
    for start, stop in pairwise(np.flatnonzero(np.diff(process[order], prepend=-1, append=-1)).tolist()):
        rows = order[start:stop]
        reader = int(process[rows[0]])
        own = by_process[starts[reader] : starts[reader + 1]]
        rows = rows[np.argsort(txns.begun_at[txn[rows]], kind="stable")]
        parts.append(_covered(txns, txn[rows], is_named[rows], own, polls.completed, ends_by_process[reader]))
        is_shared[txn[rows[_overlap(txns.begun_at[txn[rows]], txns.over_at[txn[rows]])]]] = True
    poll, txn, is_bound = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((txn, poll))
    return Coverage(poll[order], txn[order], is_bound[order], is_shared)


def _covering(txns: Transactions) -> tuple[Ints, Ints, Array]:
    """Processes and the transactions that cover them, and whether as ``consumers``."""
    counts = np.array([len(named) for named in txns.consumers], np.int64)
    named = np.array([process for readers in txns.consumers for process in readers], np.int64)
    begun = np.flatnonzero(txns.process >= 0)
    is_consumer = np.zeros(len(txns.names), np.bool_)
    txn = np.repeat(np.arange(len(txns.names)), counts)
    is_consumer[txn[named == txns.process[txn]]] = True
    begun = begun[~is_consumer[begun]]
    return (
        np.concatenate([named, txns.process[begun]]),
        np.concatenate([txn, begun]),
        np.concatenate([np.ones(len(named), np.bool_), np.zeros(len(begun), np.bool_)]),
    )


def _covered(
    txns: Transactions, txn: Ints, is_named: Array, polls: Ints, completed: Ints, ends: Ints
) -> tuple[Ints, Ints, Array]:
    """The polls of one process that each of its transactions covers. `polls`: rows of its polls."""
    polls = polls[np.argsort(completed[polls], kind="stable")]
    done = completed[polls]
    begun, over = txns.begun_at[txn], txns.over_at[txn]
    ends = np.unique(np.concatenate([[-1], ends, over]))
    since = np.where(is_named, ends[np.searchsorted(ends, begun, side="right") - 1], begun)
    first = np.searchsorted(done, since, side="right")
    count = np.maximum(np.searchsorted(done, over) - first, 0)
    return polls[spread(first, count)], np.repeat(txn, count), np.repeat(is_named, count)


def _overlap(begun: Ints, over: Ints) -> Array:
    """Which spans overlap another; they stand in the order of their beginnings."""
    overlap = np.zeros(len(begun), np.bool_)
    latest = np.maximum.accumulate(over)
    overlap[1:] |= begun[1:] < latest[:-1]
    overlap[:-1] |= begun[1:] < over[:-1]
    return overlap


def _ends_by_process(terms: Terms) -> list[Ints]:
    """For each process where it committed by itself, was rewound, or began anew."""
    ends: list[list[int]] = [[] for _ in terms.processes]
    for call in terms.history.calls_of.get("commit", ()):
        if call.outcome == OK and call.done is not None and not isinstance(call.invoked.txn, str):
            ends[terms.processes[call.invoked.process]].append(call.done.index)
    for call in terms.history.calls_of.get("seek", ()):
        if call.outcome != FAIL:
            ends[terms.processes[call.invoked.process]].append(call.ended_at(call.begun_at))
    return [
        np.unique(np.concatenate([np.array(own, np.int64), terms.sessions.of_process.get(process, _NONE)]))
        for process, own in enumerate(ends)
    ]


_NONE = np.empty(0, np.int64)
