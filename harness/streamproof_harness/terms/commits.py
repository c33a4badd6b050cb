"""Commits, one row for each log that a `commit` names, and when they take effect.

A commit takes effect by itself, or with the transaction that it is part of: not before that one's
commit was invoked, and for certain by the time it is known to stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import FAIL, OK, Array, Ints
from streamproof_harness.terms.generations import Generations
from streamproof_harness.terms.transactions import ABORTED, COMMITTED, NEVER, PROVEN

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(frozen=True, slots=True)
class Commits:
    """`offset` is the next one to read. `call`: which of the history's commit calls a row is of.

    `txn`: -1 for a commit by itself. `lineage` and `generation`: see `terms.generations`.
    `may_apply`: it did not certainly fail, and its transaction is not aborted. `is_certain`: it took
    effect, between the events `applies_from` and `applies_by` (NEVER where that is not certain).
    """

    call: Ints
    invoked: Ints
    completed: Ints
    outcome: Array
    process: Ints
    group: Ints
    log: Ints
    offset: Ints
    txn: Ints
    lineage: Ints
    generation: Ints
    may_apply: Array
    is_certain: Array
    applies_from: Ints
    applies_by: Ints


def commits_of(terms: Terms, groups: dict[str, int]) -> Commits:
    """All commits, by invocation."""
    numbers, generations = terms.txn_numbers, Generations()
    rows = []
    for number, call in enumerate(terms.history.calls_of.get("commit", ())):
        event = call.invoked
        shared = (
            number,
            call.begun_at,
            call.ended_at(-1),
            call.outcome,
            terms.processes[event.process],
            groups[str(event.group)],
            numbers[event.txn] if isinstance(event.txn, str) else -1,
            *generations.of(event.generation),
        )
        rows += [
            (*shared, terms.logs.find(place.topic, place.partition), place.offset)
            for place in event.offsets or []
        ]
    columns = np.array(rows, np.int64).reshape(-1, 11).T
    call_number, invoked, completed, outcome, process, group, txn, lineage, generation, log, offset = columns
    return Commits(
        call_number,
        invoked,
        completed,
        outcome,
        process,
        group,
        log,
        offset,
        txn,
        lineage,
        generation,
        *_effects(terms, txn, invoked, completed, outcome),
    )


def _effects(
    terms: Terms, txn: Ints, invoked: Ints, completed: Ints, outcome: Array
) -> tuple[Array, Array, Ints, Ints]:
    txns = terms.transactions
    may_apply, is_certain = outcome != FAIL, outcome == OK
    applies_from, applies_by = invoked.copy(), np.where(is_certain, completed, NEVER)
    inside = np.flatnonzero(txn >= 0)
    own = txn[inside]
    state = txns.state[own]
    may_apply[inside] &= state != ABORTED
    is_certain[inside] &= (state == COMMITTED) | (state == PROVEN)
    # An end that nobody saw being invoked may be invoked any time after the commit.
    begun = txns.commit_at[own]
    applies_from[inside] = np.where(begun < NEVER, np.maximum(begun, invoked[inside]), invoked[inside])
    applies_by[inside] = np.where(is_certain[inside], txns.stands_from[own], NEVER)
    return may_apply, is_certain, applies_from, applies_by
