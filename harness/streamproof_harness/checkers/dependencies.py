"""Which transaction must have come before which: the edges in which circles are looked for.

One came before another if it wrote what stands before the other's in a log (only neighbours are
joined), or wrote what the other polled, or one process ended it before it began the other, or it
stood before the other began (only those that nothing stood between are joined).
"""

from itertools import pairwise
from typing import Final

import numpy as np

from streamproof_harness.checkers.cycles import Circle, Edges, circles, edges_of, joined
from streamproof_harness.checkers.send_interleaved import sends_by_place
from streamproof_harness.checkers.wording import Words, example
from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.coverage import spread
from streamproof_harness.verdict import Example

WRITE_WRITE, WRITE_READ, PROCESS, REALTIME = range(4)


def write_write(terms: Terms) -> Edges:
    """From each transaction with a record in a log to that of the next record of any."""
    rows = sends_by_place(terms)
    rows = rows[terms.send_txn[rows] >= 0]
    first, last = rows[:-1], rows[1:]
    together = terms.place_log[first] == terms.place_log[last]
    first, last = first[together], last[together]
    return edges_of(terms.send_txn[first], terms.send_txn[last], WRITE_WRITE, first, last)


def write_read(terms: Terms, *, is_last_only: bool = False) -> Edges:
    """From each transaction to those that polled a record of it, read-committed.

    `is_last_only`: only the last record of each log in a poll, which is enough where the writers of
    the others are joined to it as neighbours.
    """
    polls, txns = terms.history.polls, terms.transactions
    rows = terms.read_committed_of_txns
    rows = rows[txns.stands[terms.record_txn[rows]]]
    poll = terms.history.records.poll[rows]
    at, reader = terms.coverage.pairs_of(poll)
    over = txns.over_at[reader]
    kept = txns.stands[reader] & ~((polls.invoked[poll[at]] < over) & (over < polls.completed[poll[at]]))
    rows, poll, reader = rows[at[kept]], poll[at[kept]], reader[kept]
    if is_last_only and len(rows):
        lane = poll * np.int64(terms.logs.count) + terms.record_log[rows]
        order = np.lexsort((rows, lane, reader))
        ends = (np.diff(lane[order], append=-1) != 0) | (np.diff(reader[order], append=-1) != 0)
        rows, reader = rows[order[ends]], reader[order[ends]]
    return edges_of(terms.record_txn[rows], reader, WRITE_READ, rows, np.full(len(rows), -1))


def process_order(terms: Terms) -> Edges:
    """From each transaction to the next ones that its process began after it was over."""
    txns = terms.transactions
    known = np.flatnonzero(txns.stands & (txns.begun_at >= 0))
    known = known[np.argsort(txns.process[known], kind="stable")]
    cuts = np.flatnonzero(np.diff(txns.process[known], prepend=-1, append=-1)).tolist()
    parts = [
        _succession(known[start:stop], txns.begun_at, txns.over_at, PROCESS) for start, stop in pairwise(cuts)
    ]
    return joined(*parts, _NO_EDGES)


def realtime_order(terms: Terms) -> Edges:
    """From each transaction to the next ones that began after it stood for certain."""
    txns = terms.transactions
    return _succession(np.flatnonzero(txns.stands), txns.begun_at, txns.stands_from, REALTIME)


def _succession(nodes: Ints, begun: Ints, over: Ints, kind: int) -> Edges:
    """Join those of `nodes` that one follows the other, leaving out what others between them imply.

    For each node these are the ones that were over before it began, but not before the last
    beginning among those: a stretch in the order of their ends.
    """
    by_end = nodes[np.argsort(over[nodes], kind="stable")]
    ends = over[by_end]
    last_begun = np.maximum.accumulate(begun[by_end])
    stop = np.searchsorted(ends, begun[nodes])
    start = np.searchsorted(ends, last_begun[np.maximum(stop - 1, 0)]) if len(nodes) else stop
    count = np.where(stop > 0, stop - start, 0)
    source, target = by_end[spread(start, count)], np.repeat(nodes, count)
    return edges_of(source, target, kind, source, target)


_NONE: Final = np.empty(0, np.int64)
_NO_EDGES: Final = Edges(_NONE, _NONE, _NONE, _NONE, _NONE)


Named = tuple[str, Edges, Circle]
"""A circle under its name, and the edges that its rows are of."""


def flow_circles(terms: Terms, edges: Edges) -> list[Named]:
    """The circles over write–read edges, those first that need nothing else."""
    # In a sound history whoever polls a record ends after its sender: then this finds nothing to search.
    stages = [("G1c", edges)]
    if goes_back(terms, edges):
        stages.append(("G1c-process", joined(edges, process_order(terms))))
        stages.append(("G1c-realtime", joined(stages[-1][1], realtime_order(terms))))
    is_open = np.ones(len(terms.transactions.names), np.bool_)
    return search(terms, stages, is_open)


def goes_back(terms: Terms, edges: Edges) -> bool:
    """Whether any edge leads to a transaction that was over before; no circle is without."""
    rank = _ranks(terms)
    return bool((rank[edges.source] >= rank[edges.target]).any())


def _ranks(terms: Terms) -> Ints:
    """When each transaction was over, or seen at the latest: what depends on it is over later."""
    txns = terms.transactions
    return np.minimum(txns.over_at, txns.stands_from)


def search(terms: Terms, stages: list[tuple[str, Edges]], is_open: Array) -> list[Named]:
    """Look for circles in one graph after the other; what was found once is left out from then on."""
    found: list[Named] = []
    for name, edges in stages:
        for circle in circles(edges, _ranks(terms), is_open):
            is_open[circle.component] = False
            found.append((name, edges, circle))
    return found


def show_circle(terms: Terms, words: Words, name: str, edges: Edges, circle: Circle) -> Example:
    """A circle as steps that a person can follow."""
    steps = [_step(terms, words, edges, row) for row in circle.rows]
    told = "; ".join(f"({number}) {text}" for number, (text, _) in enumerate(steps, start=1))
    names = terms.transactions.names
    way = " before ".join(repr(names[int(edges.source[row])]) for row in [*circle.rows, circle.rows[0]])
    more = len(circle.component) - len(circle.rows)
    rest = f" ({more} more transactions are entangled with them)" if more else ""
    return example(
        *(event for _, events in steps for event in events), text=f"{name}: {way}, for {told}{rest}"
    )


def _step(terms: Terms, words: Words, edges: Edges, row: int) -> tuple[str, list[int]]:
    txns, history = terms.transactions, terms.history
    source, target = int(edges.source[row]), int(edges.target[row])
    one, other = int(edges.witness[row]), int(edges.other[row])
    first, second = repr(txns.names[source]), repr(txns.names[target])
    if edges.kind[row] == WRITE_READ:
        poll, send = int(history.records.poll[one]), int(terms.record_send[one])
        text = f"{second} polled {words.record(one)} from {words.record_place(one)}, which {first} sent"
        return text, [int(history.sends.invoked[send]), int(history.polls.completed[poll])]
    if edges.kind[row] == WRITE_WRITE:
        log = terms.logs.name(int(terms.place_log[one]))
        text = f"in {log} {words.send(other)} of {second} stands after {words.send(one)} of {first}"
        return text, [_told_at(terms, send) for send in (one, other)]
    if edges.kind[row] == PROCESS:
        process = history.names.processes[int(txns.process[source])]
        text = f"{process} had ended {first} before it began {second}"
        return text, [int(txns.over_at[source]), int(txns.begun_at[target])]
    text = f"{first} stood before {second} began"
    return text, [int(txns.stands_from[source]), int(txns.begun_at[target])]


def _told_at(terms: Terms, send: int) -> int:
    """The event that tells where a send stands."""
    history = terms.history
    if terms.ack_place[send] >= 0:
        return int(history.sends.completed[send])
    return int(history.polls.completed[history.records.poll[terms.first_poll[send]]])
