"""What a transaction that did not commit had taken from a log, and has to give back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.terms.order import numbered
from streamproof_harness.terms.transactions import Transactions

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(frozen=True, slots=True)
class Taken:
    """`txn` polled a log through one process: entries `first` to `last` of the reading.

    `starts`: the places at which it began to read there, after each rewind.
    """

    txn: int
    process: int
    log: int
    first: int
    last: int
    starts: tuple[int, ...]


def taken_by_uncommitted(terms: Terms) -> list[Taken]:
    """What the polls took that belong to transactions which did not commit, and were bound to them.

    Where several transactions covered polls of one process at once, each took from those logs only
    that its commits name or its sends derive from.
    """
    reading, coverage, txns = terms.reading, terms.coverage, terms.transactions
    chosen = ~txns.stands[coverage.txn] & coverage.is_bound
    if not chosen.any():
        return []
    pairs = type(coverage)(
        coverage.poll[chosen], coverage.txn[chosen], coverage.is_bound[chosen], coverage.is_shared
    )
    is_bound = np.zeros(len(terms.history.polls.process), np.bool_)
    is_bound[pairs.poll] = True
    entries = np.flatnonzero(is_bound[reading.poll])
    at, txn = pairs.pairs_of(reading.poll[entries])
    entries = entries[at]
    reader = np.cumsum(~reading.continues)[entries]
    lane = numbered(reader, txn)
    order = np.lexsort((entries, lane))
    own_logs = _named_logs(terms, txns, np.flatnonzero(coverage.is_shared))
    result = []
    for start, stop in pairwise(np.flatnonzero(np.diff(lane[order], prepend=-1, append=-1)).tolist()):
        rows = entries[order[start:stop]]
        number = int(txn[order[start]])
        first, last = int(rows[0]), int(rows[-1])
        log = int(terms.record_log[reading.row[first]])
        if number in own_logs and log not in own_logs[number]:
            continue
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = reading.session[rows[1:]] != reading.session[rows[:-1]]
        process = int(terms.history.polls.process[reading.poll[first]])
        starts = tuple(reading.place[rows[begins]].tolist())
        result.append(Taken(number, process, log, first, last, starts))
    return result


def _named_logs(terms: Terms, txns: Transactions, shared: np.ndarray) -> dict[int, set[int]]:
    """The logs from which these transactions say that they took something."""
    logs: dict[int, set[int]] = {int(txn): set() for txn in shared.tolist()}
    for call in terms.history.calls_of.get("commit", ()):
        number = terms.txn_numbers.get(str(call.invoked.txn), -1)
        if number in logs:
            places = call.invoked.offsets or []
            logs[number].update(terms.logs.find(place.topic, place.partition) for place in places)
    derived = terms.history.sends.derived
    sender = terms.send_txn[derived.rows]
    linked = np.flatnonzero(np.isin(sender, shared))
    source = terms.send_of(derived.values[linked])
    for number, row in zip(sender[linked].tolist(), source.tolist(), strict=True):
        if row >= 0 and terms.home[row] >= 0:
            logs[number].add(int(terms.home[row]))
    return logs
