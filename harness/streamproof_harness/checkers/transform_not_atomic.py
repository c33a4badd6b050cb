"""transform-not-atomic: the outputs of a transaction and its progress are not of one piece."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from streamproof_harness.checkers.earlier import highest_until
from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import FAIL, OK, Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.beginnings import Beginning
from streamproof_harness.terms.order import numbered
from streamproof_harness.terms.transactions import ABORTED, COMMITTED, NEVER, UNKNOWN
from streamproof_harness.verdict import Example, Finding

_Told = tuple[list[int], str]
"""The events that prove a case, and what is wrong, to be put behind the transaction's name."""
_Case = tuple[int, Callable[[Words], _Told]]
"""A transaction, and how to tell what is wrong with it."""


def judge(terms: Terms, contract: Contract) -> Finding:
    """Judged at the end: of a transaction with outputs seen its own offset commit is not committed with
    it, or the reverse.

    Outputs were seen, but its `commit` failed; or does not cover what they derive from, nor does one of
    another transaction, or one that came before its `begin` (where that names the ``consumers``); or a
    reader began before it later on. The
    reverse: it aborted and a reader began where its `commit` had led; or such a commit holds, known from
    its `end` or from where a reader began, and after a complete drain none of its outputs was seen.
    One anomaly for each transaction. Evidence: transactions that stand, of which outputs were seen,
    and that committed offsets.
    """
    if not (terms.commits.txn >= 0).any() and not any(terms.transactions.consumers):
        return Finding()
    seen = _seen(terms)
    cases: dict[int, Callable[[Words], _Told]] = {}
    searches = (_failed(terms, seen), _uncovered(terms, seen), _undone(terms, seen))
    for search in (*searches, _leaked(terms), _unseen(terms)):
        for txn, tell in search:
            cases.setdefault(txn, tell)
    words = Words(terms)

    def show(txn: int) -> Example:
        events, text = cases[txn](words)
        known = (event for event in events if event < NEVER)
        return example(*known, text=f"{words.txn(txn)} {text}")

    own = np.zeros(len(seen), np.bool_)
    own[terms.commits.txn[(terms.commits.txn >= 0) & (terms.commits.outcome == OK)]] = True
    evidence = int(np.count_nonzero(own & seen & terms.transactions.stands))
    return finding(len(cases), sorted(cases), show, evidence)


def _seen(terms: Terms) -> Array:
    """Of which transactions a read-committed poll returned a record."""
    seen = np.zeros(len(terms.transactions.names), np.bool_)
    seen[terms.record_txn[terms.read_committed_of_txns]] = True
    return seen


def _seen_at(terms: Terms, txn: int) -> int:
    """The first poll that returned a record of the transaction."""
    rows = terms.read_committed_of_txns
    row = int(rows[np.flatnonzero(terms.record_txn[rows] == txn)[0]])
    return int(terms.history.polls.completed[terms.history.records.poll[row]])


# -- outputs without progress ----------------------------------------------------------------------------


def _failed(terms: Terms, seen: Array) -> Iterator[_Case]:
    """Its own commit of some log certainly failed."""
    commits, txns = terms.commits, terms.transactions
    own = np.flatnonzero(commits.txn >= 0)
    lane = numbered(commits.txn[own], commits.group[own], commits.log[own])
    taken = np.bincount(lane, weights=commits.outcome[own] != FAIL, minlength=len(own) + 2) > 0

    def tell(row: int, txn: int, words: Words) -> _Told:
        log = terms.logs.name(int(commits.log[row]))
        text = f"was committed and its records were polled, but its commit of {log} had failed"
        return [int(commits.completed[row]), _seen_at(terms, txn)], text

    for row in own[~taken[lane]].tolist():
        txn = int(commits.txn[row])
        if txns.stands[txn] and seen[txn]:
            yield txn, partial(tell, row, txn)


def _uncovered(terms: Terms, seen: Array) -> Iterator[_Case]:
    """What its outputs derive from is covered neither by its own commit nor by an earlier one."""
    txns, derived = terms.transactions, terms.history.sends.derived
    group_of_txn = _groups(terms)
    txn = terms.send_txn[derived.rows]
    judged = (txn >= 0) & terms.is_effective[derived.rows]
    judged &= seen[txn] & (group_of_txn[txn] >= 0)
    output, txn = derived.rows[judged], txn[judged]
    source = terms.send_of(derived.values[judged])
    known = (source >= 0) & (terms.send_place[source] >= 0)
    output, txn, source = output[known], txn[known], source[known]
    group, log = group_of_txn[txn], terms.place_log[source]
    covered = np.maximum(
        _reach(terms, group, log, np.minimum(txns.stands_from[txn], terms.history.events), is_own=True),
        _reach(terms, group, log, txns.begun_at[txn], is_own=False),
    )

    def tell(at: int, words: Words) -> _Told:
        text = (
            f"was committed with {words.send(int(output[at]))} made from {words.send(int(source[at]))}, but "
            f"no commit of {terms.groups[int(group[at])]} covered "
            f"{words.place_of_send(int(source[at]))} with it"
        )
        sent = int(terms.history.sends.invoked[output[at]])
        return [sent, int(txns.stands_from[txn[at]])], text

    for at in np.flatnonzero(covered <= terms.send_place[source]).tolist():
        if _is_read(terms, int(txn[at]), int(log[at])):
            yield int(txn[at]), partial(tell, at)


def _reach(terms: Terms, group: Ints, log: Ints, until: Ints, *, is_own: bool) -> Ints:
    """How far commits of transactions (`is_own`), or those by themselves, had led by some event."""
    commits = terms.commits
    rows = np.flatnonzero(commits.may_apply & (commits.log >= 0) & ((commits.txn >= 0) == is_own))
    lane = numbered(np.concatenate([commits.group[rows], group]), np.concatenate([commits.log[rows], log]))
    asked = lane[len(rows) :]
    return highest_until(
        lane[: len(rows)], commits.applies_from[rows], terms.commit_place[rows], asked, until
    )


def _groups(terms: Terms) -> Ints:
    """The one named group that all consumers of each transaction are in, -1: none, or several."""
    groups = np.full(len(terms.transactions.names), -1, np.int64)
    known: dict[tuple[int, ...], int] = {(): -1}
    for txn, consumers in enumerate(terms.transactions.consumers):
        if consumers not in known:
            named = {
                group
                for process in consumers
                for group in terms.groups_of_process.get(process, ())
                if group < terms.count_of_named_groups
            }
            known[consumers] = named.pop() if len(named) == 1 else -1
        groups[txn] = known[consumers]
    return groups


def _is_read(terms: Terms, txn: int, log: int) -> bool:
    """Whether a consumer of the transaction polled this log."""
    return any((process, log) in terms.polled_by for process in terms.transactions.consumers[txn])


def _undone(terms: Terms, seen: Array) -> Iterator[_Case]:
    """A reader began before its commit later on."""
    commits = terms.commits

    def tell(beginning: Beginning, txn: int, words: Words) -> _Told:
        last = beginning.stored.last
        stored = words.place(beginning.log, int(commits.offset[last]))
        text = (
            f"was committed and its records were polled, but its commit of {stored} was lost: "
            f"{_began(terms, words, beginning)}"
        )
        return [int(commits.completed[last]), beginning.until, _seen_at(terms, txn)], text

    for beginning in terms.beginnings:
        last = beginning.stored.last
        txn = int(commits.txn[last]) if last >= 0 else -1
        if beginning.expects and txn >= 0 and seen[txn]:
            place = int(terms.reading.place[beginning.entry])
            if terms.known_before[place] < terms.ranks(beginning.log, commits.offset[[last]])[0]:
                yield txn, partial(tell, beginning, txn)


def _began(terms: Terms, words: Words, beginning: Beginning) -> str:
    row = int(terms.reading.row[beginning.entry])
    process = terms.history.names.processes[beginning.process]
    return f"{process} began with {words.record(row)} at offset {int(terms.history.records.offset[row])}"


# -- progress without outputs ------------------------------------------------------------------------------


def _leaked(terms: Terms) -> Iterator[_Case]:
    """It was aborted, and a reader began where its commit had led."""
    commits, txns = terms.commits, terms.transactions

    def tell(beginning: Beginning, row: int, words: Words) -> _Told:
        stored = words.place(beginning.log, int(commits.offset[row]))
        text = f"was aborted, but its commit of {stored} holds: {_began(terms, words, beginning)}"
        decided = int(txns.decided_at[commits.txn[row]])
        return [decided, int(commits.invoked[row]), beginning.until], text

    for beginning in terms.beginnings:
        for row in _commits_at(terms, beginning) if beginning.expects else ():
            txn = int(commits.txn[row])
            if txn >= 0 and txns.state[txn] == ABORTED and commits.outcome[row] != FAIL:
                yield txn, partial(tell, beginning, row)


def _commits_at(terms: Terms, beginning: Beginning) -> list[int]:
    """The group's commits that name the position where a reader began, and came before that."""
    progress = terms.progress.get((beginning.group, beginning.log))
    rank = int(terms.known_before[terms.reading.place[beginning.entry]])
    rows = () if progress is None else progress.naming(rank)
    return [row for row in rows if terms.commits.invoked[row] < beginning.until]


def _unseen(terms: Terms) -> Iterator[_Case]:
    """Its commit holds, and none of its outputs was seen though everything was drained."""
    if terms.drained_at < 0:
        return
    commits, txns = terms.commits, terms.transactions
    holding: dict[int, tuple[int, int]] = {}  # the commit, and the poll that shows that it holds
    certain = np.flatnonzero(commits.is_certain & (commits.txn >= 0))
    for row in certain[txns.state[commits.txn[certain]] == COMMITTED].tolist():
        holding.setdefault(int(commits.txn[row]), (row, NEVER))
    for beginning in terms.beginnings:
        if beginning.is_by_unknown:
            rows = [row for row in _commits_at(terms, beginning) if commits.may_apply[row]]
            owners = {int(commits.txn[row]) for row in rows}
            txn = owners.pop() if len(owners) == 1 else -1
            if txn >= 0 and txns.state[txn] == UNKNOWN:
                holding.setdefault(txn, (rows[0], beginning.until))
    missing = _all_missing(terms)

    def tell(row: int, shown_at: int, send: int, words: Words) -> _Told:
        stored = words.place(int(commits.log[row]), int(commits.offset[row]))
        text = (
            f"stored the progress {stored}, but none of its records was polled, {words.send(send)} in "
            f"{words.send_place(send)} for one"
        )
        sent = int(terms.history.sends.completed[send])
        return [int(commits.completed[row]), sent, terms.drained_at, shown_at], text

    for txn, (row, shown_at) in holding.items():
        if missing[txn] >= 0 and txns.over_at[txn] < terms.drained_at:
            yield txn, partial(tell, row, shown_at, int(missing[txn]))


def _all_missing(terms: Terms) -> Ints:
    """For each transaction none of whose records was polled, one that a drained reader had to see; or -1."""
    sends = terms.history.sends
    rows = sends.txn.rows
    is_polled = np.zeros(len(terms.transactions.names), np.bool_)
    is_polled[terms.send_txn[rows[terms.is_polled[rows]]]] = True
    rows = rows[(sends.outcome[rows] == OK) & (terms.send_log[rows] >= 0) & ~is_polled[terms.send_txn[rows]]]
    ranges = terms.ranges_of(terms.drained_groups)
    rows = rows[ranges.holds(terms.send_log[rows], sends.offset[rows])]
    missing = np.full(len(is_polled), -1, np.int64)
    missing[terms.send_txn[rows[::-1]]] = rows[::-1]
    return missing
