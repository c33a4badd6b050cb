"""duplicate-bound: more was delivered again than the excuse explains."""

import numpy as np

from streamproof_harness.checkers.duplicate_delivery import repeated
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history import OPS
from streamproof_harness.history.codes import OK, OP, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.beginnings import session_beginnings
from streamproof_harness.verdict import Example, Finding

_UNDOING = tuple(OPS.index(op) for op in ("crash", "close", "open", "lost", "revoke"))
_MIX = np.int64(0x9E3779B97F4A7C1)


def judge(terms: Terms, contract: Contract) -> Finding:
    """After an excuse, something delivered again from below the last ok or in-flight commit, or that was
    final.

    Of records with offsets: below every offset that the group may have stored when the reader began
    there (see `resume-not-at-commit`), if it had stored any; within a session, when it polled. Of
    others: an `ack` of it was ok, and since then its process did not crash, close, open or lose
    anything, and no fault was on. One anomaly for each repeated delivery. Evidence: repeated
    deliveries with an excuse.
    """
    history = terms.history
    first, again = repeated(terms, np.flatnonzero(terms.counts & ~terms.is_moved))
    polls, poll_of = history.polls, history.records.poll
    since, until = polls.invoked[poll_of[first]], polls.completed[poll_of[again]]
    group = terms.record_group[again]
    excused = terms.excuses.between(group, terms.record_log[first], since, until)
    excused |= terms.excuses.between(group, terms.record_log[again], since, until)
    first, again = first[excused], again[excused]
    bounds = _Bounds(terms)
    final = _finals(terms, again)
    wrong = np.array(
        [
            number
            for number, (one, other) in enumerate(zip(first.tolist(), again.tolist(), strict=True))
            if history.records.offset[other] < bounds.of(one, other) or final[number] >= 0
        ],
        np.int64,
    )
    words = Words(terms)

    def show(number: int) -> Example:
        one, other = int(first[number]), int(again[number])
        return _show(terms, words, (one, other), bounds.commit(one, other), int(final[number]))

    return found(wrong, show, evidence=len(again))


class _Bounds:
    """The lowest offset from which on a record may be delivered again, and the commit that says so."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._entry = np.full(len(terms.record_log), -1, np.int64)
        self._entry[terms.reading.row] = np.arange(len(terms.reading.row))
        self._began = session_beginnings(terms)
        self._beginnings = {beginning.entry: beginning for beginning in terms.beginnings}

    def of(self, first: int, again: int) -> int:
        """The bound for the delivery `again` (a record) after `first`; -1: there is none."""
        return self._bound(first, again)[0]

    def commit(self, first: int, again: int) -> int:
        """The row of the commit that sets it."""
        return self._bound(first, again)[1]

    def _bound(self, first: int, again: int) -> tuple[int, int]:
        terms, entry = self._terms, int(self._entry[again])
        if entry < 0:
            return -1, -1
        began = int(self._began[entry])
        if self._entry[first] < 0 or self._began[self._entry[first]] != began:
            beginning = self._beginnings.get(began)
            return (-1, -1) if beginning is None else (beginning.lowest, beginning.stored.last)
        polls, poll = terms.history.polls, int(terms.history.records.poll[again])
        place = int(terms.record_group[again]), int(terms.record_log[again])
        progress = terms.progress.get(place)
        if progress is None:
            return -1, -1
        until = int(polls.completed[poll])
        stored = progress.stored(int(polls.invoked[poll]), until)
        if stored.last < 0:
            return -1, -1
        offsets = terms.commits.offset[[stored.last, *stored.others]].tolist()
        return min(*offsets, progress.lowest_unknown(until)), stored.last


def _finals(terms: Terms, again: Ints) -> Ints:
    """For each record without an offset the row of an ack that was final when it came again, -1: none."""
    result = np.full(len(again), -1, np.int64)
    records, handles = terms.history.records, terms.history.handles
    bare = np.flatnonzero(records.offset[again] < 0)
    acks = np.flatnonzero((handles.op == OP["ack"]) & (handles.outcome == OK))
    if not len(bare) or not len(acks):
        return result
    name = handles.id[acks] ^ (terms.handle_group[acks] * _MIX)
    order = np.argsort(name, kind="stable")
    acks, name = acks[order], name[order]
    wanted = records.id[again[bare]] ^ (terms.record_group[again[bare]] * _MIX)
    start, stop = np.searchsorted(name, wanted), np.searchsorted(name, wanted, side="right")
    undone = _undone(terms)
    for number, low, high in zip(bare.tolist(), start.tolist(), stop.tolist(), strict=True):
        poll = int(records.poll[again[number]])
        invoked = int(terms.history.polls.invoked[poll])
        completed = int(terms.history.polls.completed[poll])
        for ack in acks[low:high].tolist():
            if handles.completed[ack] < invoked and not _may_be_undone(terms, undone, ack, completed):
                result[number] = ack
    return result


def _undone(terms: Terms) -> dict[int, Ints]:
    """By process the events that can undo what it acknowledged before."""
    history = terms.history
    ops = history.kind & 31
    at = np.flatnonzero(np.isin(ops, _UNDOING))
    process = history.process[at]
    return {int(number): at[process == number] for number in np.unique(process).tolist()}


def _may_be_undone(terms: Terms, undone: dict[int, Ints], ack: int, until: int) -> bool:
    handles = terms.history.handles
    since = int(handles.invoked[ack])
    events = undone.get(int(handles.process[ack]))
    if events is not None and np.searchsorted(events, since) < np.searchsorted(events, until):
        return True
    return bool(terms.excuses.fault_on(np.array([since]), np.array([until]))[0])


def _show(terms: Terms, words: Words, pair: tuple[int, int], commit: int, ack: int) -> Example:
    records, polls = terms.history.records, terms.history.polls
    one, other = (int(records.poll[row]) for row in pair)
    text = (
        f"{words.group(int(terms.record_group[pair[1]]))} got {words.record(pair[1])} from "
        f"{words.record_place(pair[1])} at {words.poll_process(one)} and again at "
        f"{words.poll_process(other)}, "
    )
    events = [int(polls.completed[poll]) for poll in (one, other)]
    if ack >= 0:
        acked = int(terms.history.handles.completed[ack])
        return example(*events, acked, text=text + "though it had been acknowledged for good")
    offset = int(terms.commits.offset[commit])
    committed = int(terms.commits.completed[commit])
    return example(*events, committed, text=text + f"though offset {offset} had been committed before")
