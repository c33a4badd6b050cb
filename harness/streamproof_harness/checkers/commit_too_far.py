"""commit-too-far: a group's progress was stored beyond what it had done."""

from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import FAIL, OK, OP, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding

_NEVER = np.int64(2**62)
_MIX = np.int64(0x9E3779B97F4A7C1)


def judge(terms: Terms, contract: Contract) -> Finding:
    """In a group with `handle` events: a record below a commit, delivered to the group before the
    commit was invoked, had no ok `handle`, `reject` or `dead-letter` by then. In any group: a commit
    above the last delivered position + 1.

    A record that went to a retry topic (`nack` with ``to``) or expired is done with as well. Where a
    reading was told to begin, by an `assign` or a `seek`, a commit may stand without any delivery.
    Certainly failed commits are not judged. One anomaly for each commit and log. Evidence: commits.
    """
    commits = terms.commits
    judged = np.flatnonzero(commits.outcome != FAIL)
    handling = set(terms.handle_group[terms.history.handles.op == OP["handle"]].tolist())
    deliveries = _Deliveries(terms)
    settled = _Settled(terms)
    words = Words(terms)
    cases: dict[int, Example] = {}
    pair = commits.group[judged] * np.int64(terms.logs.count) + commits.log[judged]
    order = np.argsort(pair, kind="stable")
    for start, stop in pairwise(np.flatnonzero(np.diff(pair[order], prepend=-1, append=-1)).tolist()):
        rows = judged[order[start:stop]]
        group, log = int(commits.group[rows[0]]), int(commits.log[rows[0]])
        delivered = deliveries.of(group, log)
        if group in handling:
            for row, record in _unhandled(terms, rows, delivered, settled):
                cases.setdefault(row, _show_unhandled(terms, words, row, record))
        for row, last in _beyond(terms, rows, delivered):
            cases.setdefault(row, _show_beyond(terms, words, row, last))
    ordered = sorted(cases)
    return finding(len(cases), ordered, cases.__getitem__, evidence=len(judged))


class _Deliveries:
    """The polled records by group and log, as they came."""

    def __init__(self, terms: Terms) -> None:
        rows = np.flatnonzero(terms.counts & (terms.history.records.offset >= 0))
        pair = terms.record_group[rows] * np.int64(terms.logs.count) + terms.record_log[rows]
        order = np.argsort(pair, kind="stable")
        self._rows, self._pair = rows[order], pair[order]
        self._width = terms.logs.count

    def of(self, group: int, log: int) -> Ints:
        pair = group * self._width + log
        start, stop = np.searchsorted(self._pair, [pair, pair + 1])
        return self._rows[start:stop]


class _Settled:
    """From which event on a record was done with in a group."""

    def __init__(self, terms: Terms) -> None:
        handles = terms.history.handles
        is_done = (np.isin(handles.op, [OP["handle"], OP["reject"]]) & (handles.outcome == OK)) | (
            (handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome == OK)
        )
        notes = [note for op in ("dead-letter", "expire") for note in terms.history.notes_of.get(op, ())]
        groups = [terms.handle_group[is_done], np.array([terms.group_of(n) for n in notes], np.int64)]
        ids = [handles.id[is_done], np.array([hash(note.id) for note in notes], np.int64)]
        index = [handles.completed[is_done], np.array([note.index for note in notes], np.int64)]
        name = np.concatenate(ids) ^ (np.concatenate(groups) * _MIX)
        when = np.concatenate(index)
        order = np.lexsort((when, name))
        self._name, self._when = name[order], when[order]

    def since(self, group: int, ids: Ints) -> Ints:
        """The first such event of each id, or one after all events."""
        name = ids ^ (np.int64(group) * _MIX)
        at = np.searchsorted(self._name, name)
        found = at < len(self._name)
        found[found] = self._name[at[found]] == name[found]
        result = np.full(len(ids), _NEVER)
        result[found] = self._when[at[found]]
        return result


def _unhandled(terms: Terms, rows: Ints, delivered: Ints, settled: _Settled) -> list[tuple[int, int]]:
    """Commits that left a delivered record behind, each with one such record."""
    commits, history = terms.commits, terms.history
    since = history.polls.completed[history.records.poll[delivered]]
    until = settled.since(int(commits.group[rows[0]]), history.records.id[delivered])
    open_ = since < until  # else it was done with before it came again
    delivered, since, until = delivered[open_], since[open_], until[open_]
    offset = history.records.offset[delivered]
    invoked, reach = commits.invoked[rows], commits.offset[rows]
    if bool((reach[1:] >= reach[:-1]).all()):
        # Commits rise, so a record is covered from the first commit above it on. In a sound
        # history none of those comes between its delivery and its handling.
        first = np.maximum(np.searchsorted(reach, offset, side="right"), np.searchsorted(invoked, since))
        if not bool((first < np.searchsorted(invoked, until)).any()):
            return []
    return _sweep(rows, invoked, reach, delivered, (since, until, offset))


def _sweep(
    rows: Ints, invoked: Ints, reach: Ints, delivered: Ints, spans: tuple[Ints, Ints, Ints]
) -> list[tuple[int, int]]:
    """Go through deliveries, handlings and commits in their order; the lowest open record decides."""
    since, until, offset = (column.tolist() for column in spans)
    timeline = [(index, 0, number) for number, index in enumerate(since)]
    timeline += [(index, 1, number) for number, index in enumerate(until)]
    timeline += [(index, 2, number) for number, index in enumerate(invoked.tolist())]
    waiting: list[tuple[int, int]] = []
    done: set[int] = set()
    result: list[tuple[int, int]] = []
    for _, kind, number in sorted(timeline):
        if kind == 0:
            heappush(waiting, (offset[number], number))
        elif kind == 1:
            done.add(number)
        else:
            while waiting and waiting[0][1] in done:
                heappop(waiting)
            if waiting and waiting[0][0] < reach[number]:
                result.append((int(rows[number]), int(delivered[waiting[0][1]])))
    return result


def _beyond(terms: Terms, rows: Ints, delivered: Ints) -> list[tuple[int, int]]:
    """Commits that jump over something known after the last delivery, each with that last offset."""
    commits, history = terms.commits, terms.history
    log, group = int(commits.log[rows[0]]), int(commits.group[rows[0]])
    at = history.polls.completed[history.records.poll[delivered]]
    highest = np.maximum.accumulate(history.records.offset[delivered]) if len(delivered) else delivered
    invoked = commits.invoked[rows]
    count = np.searchsorted(at, invoked)
    last = np.full(len(rows), -1, np.int64)
    last[count > 0] = highest[count[count > 0] - 1]
    told = np.zeros(len(rows), np.int64)
    for index, offset in _begins(terms, group, log):
        told[invoked > index] = np.maximum(told[invoked > index], offset)
    start = terms.places.firsts_at(log, np.maximum(last + 1, told))
    reach = np.maximum(terms.places.firsts_at(log, commits.offset[rows]), start)
    beyond = terms.known_before[reach] > terms.known_before[start]
    return list(zip(rows[beyond].tolist(), last[beyond].tolist(), strict=True))


def _begins(terms: Terms, group: int, log: int) -> list[tuple[int, int]]:
    """Where members of the group were told to begin: event index and offset."""
    return [
        begin
        for (process, number), reader in terms.readers.items()
        if number == log and group in terms.groups_of_process.get(process, ())
        for begin in (*reader.begins, *reader.seeks)
    ]


def _show_unhandled(terms: Terms, words: Words, row: int, record: int) -> Example:
    commits, polls = terms.commits, terms.history.polls
    text = (
        f"{words.group(int(commits.group[row]))} committed "
        f"{words.place(int(commits.log[row]), int(commits.offset[row]))} before {words.record(record)} "
        f"at offset {int(terms.history.records.offset[record])} was handled"
    )
    delivered = int(polls.completed[terms.history.records.poll[record]])
    return example(delivered, int(commits.invoked[row]), text=text)


def _show_beyond(terms: Terms, words: Words, row: int, last: int) -> Example:
    commits = terms.commits
    seen = f"only got as far as offset {last}" if last >= 0 else "had got nothing of it"
    text = (
        f"{words.group(int(commits.group[row]))} committed "
        f"{words.place(int(commits.log[row]), int(commits.offset[row]))} and {seen}"
    )
    return example(int(commits.invoked[row]), text=text)
