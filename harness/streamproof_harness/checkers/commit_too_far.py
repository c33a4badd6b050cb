"""commit-too-far: a group's progress was stored beyond what it had done."""

from heapq import heappop, heappush

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.codes import FAIL, OK, OP, Ints
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding

_NEVER = np.int64(2**62)


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
    settled = _settled(terms)
    words = Words(terms)
    cases: dict[int, Example] = {}
    pair = commits.group[judged] * np.int64(terms.logs.count) + commits.log[judged]
    for name in np.unique(pair).tolist():
        group, log = divmod(name, terms.logs.count)
        rows = judged[pair == name]
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


def _settled(terms: Terms) -> dict[int, dict[int, int]]:
    """By group, and id: the event from which on a record was done with."""
    handles = terms.history.handles
    is_done = (np.isin(handles.op, [OP["handle"], OP["reject"]]) & (handles.outcome == OK)) | (
        (handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome == OK)
    )
    at = np.flatnonzero(is_done)
    settled: dict[int, dict[int, int]] = {}
    groups = terms.handle_group[at].tolist()
    for group, id_, index in zip(
        groups, handles.id[at].tolist(), handles.completed[at].tolist(), strict=True
    ):
        of_group = settled.setdefault(group, {})
        of_group[id_] = min(of_group.get(id_, index), index)
    for op in ("dead-letter", "expire"):
        for note in terms.history.notes_of.get(op, ()):
            of_group = settled.setdefault(terms.group_of(note), {})
            of_group[hash(note.id)] = min(of_group.get(hash(note.id), note.index), note.index)
    return settled


def _unhandled(
    terms: Terms, rows: Ints, delivered: Ints, settled: dict[int, dict[int, int]]
) -> list[tuple[int, int]]:
    """Commits that left a delivered record behind, each with one such record."""
    commits, history = terms.commits, terms.history
    since = history.polls.completed[history.records.poll[delivered]]
    of_group = settled.get(int(commits.group[rows[0]]), {})
    ids = history.records.id[delivered].tolist()
    until = np.array([of_group.get(id_, _NEVER) for id_ in ids], np.int64)
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
    begins = _begins(terms, group, log)
    result = []
    for row in rows.tolist():
        invoked = int(commits.invoked[row])
        count = int(np.searchsorted(at, invoked))
        last = int(highest[count - 1]) if count else -1
        told = max((offset for index, offset in begins if index < invoked), default=0)
        start = terms.places.first_at(log, max(last + 1, told))
        reach = terms.places.first_at(log, int(commits.offset[row]))
        if terms.known_before[max(reach, start)] > terms.known_before[start]:
            result.append((row, last))
    return result


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
