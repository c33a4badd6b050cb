"""Put the parts of a history together: one numbering of names, and calls joined to completions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from streamproof_harness.history import HistoryError
from streamproof_harness.history.codes import NOTE, OK, Array, Ints
from streamproof_harness.history.decoding import Part
from streamproof_harness.history.tables import Calls, Names, RareCall, Sparse


class Join:
    """Puts the parts of a history behind each other, with one set of interned integers.

    Taking a column removes it from its part: it is in memory once.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.events = sum(part.events for part in parts)
        self.rare = [event for part in parts for event in part.rare]
        self._unions = {
            name: _union([vars(part.tables)[name] for part in parts])
            for name in ("topics", "processes", "groups", "txns", "errors")
        }
        self._sent_before = np.cumsum([0, *(part.sends for part in parts)])

    def names(self) -> Names:
        return Names(**{name: tuple(union) for name, union in self._unions.items()})

    def column(self, name: str, dtype: Any = np.int64) -> Array:
        arrays = [array for part in self.parts for array in part.columns.pop(name, [])]
        return np.concatenate(arrays) if arrays else np.empty(0, dtype)

    def interned(self, name: str, table: str) -> Array:
        """A column of interned integers, turned from each part's own into the history's."""
        union = self._unions[table]
        arrays: list[Array] = []
        for part in self.parts:
            pieces = part.columns.pop(name, [])
            own = np.array([*(union[value] for value in vars(part.tables)[table]), -1], np.int64)
            if bool((own[:-1] == np.arange(len(own) - 1)).all()):
                arrays += pieces
            else:
                arrays += [own[piece] for piece in pieces]  # -1 picks the last, which is -1
        return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

    def shifted(self, name: str) -> Ints:
        """A column of row numbers of sends, which each part counts from 0."""
        arrays = [
            piece + before
            for part, before in zip(self.parts, self._sent_before, strict=False)
            for piece in part.columns.pop(name, [])
        ]
        return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

    def sparse(self, name: str) -> Sparse:
        return Sparse(self.shifted(f"{name}.rows"), self.column(name))


def _union(tables: Sequence[dict[Any, int]]) -> dict[Any, int]:
    union: dict[Any, int] = {}
    for table in tables:
        for value in table:
            union.setdefault(value, len(union))
    return union


def join_calls(kind: Array, process: Array, call: Ints) -> Calls:
    """Join completions to invocations. Raises HistoryError where one has none, or not its own."""
    type_ = kind >> 5
    invoked = np.flatnonzero(type_ == 0)
    ended = np.flatnonzero((type_ >= OK) & (type_ < NOTE))
    rows = _rows_of_calls(call[invoked], call[ended], invoked)
    orphans = np.flatnonzero(rows < 0)
    if len(orphans):
        at = int(ended[orphans[0]])
        raise HistoryError("completes a call that was never invoked", line=at + 2)
    begun = invoked[rows]
    early = np.flatnonzero(begun > ended)
    if len(early):
        raise HistoryError("completes a call before its invocation", line=int(ended[early[0]]) + 2)
    strange = np.flatnonzero((kind[begun] != kind[ended] & 31) | (process[begun] != process[ended]))
    if len(strange):
        at = int(ended[strange[0]])
        raise HistoryError(
            f"op and process of a completion must be those of its invocation on line "
            f"{int(begun[strange[0]]) + 2}",
            line=at + 2,
        )
    completed = np.full(len(invoked), -1, np.int64)
    completed[rows[::-1]] = ended[::-1]  # of several, the first is written last and stays
    again = completed[rows] != ended
    outcome = np.zeros(len(invoked), np.uint8)
    done = completed >= 0
    outcome[done] = type_[completed[done]]
    return Calls(
        op=kind[invoked] & 31,
        process=process[invoked],
        invoked=invoked,
        completed=completed,
        outcome=outcome,
        again=ended[again],
        again_of=rows[again],
    )


def _rows_of_calls(invocations: Ints, completions: Ints, invoked: Ints) -> Ints:
    """For each completion the row of the invocation with the same call, -1 where there is none."""
    count = len(invocations)
    if count == 0:
        return np.full(len(completions), -1, np.int64)
    least, most = int(invocations.min()), int(invocations.max())
    if most - least < 4 * count + 1024:
        table = np.full(most - least + 1, -1, np.int64)
        table[invocations - least] = np.arange(count)
        twice = np.flatnonzero(table[invocations - least] != np.arange(count))
        if len(twice):
            _complain_about_calls(invocations, invoked)
        inside = (completions >= least) & (completions <= most)
        return np.where(inside, table[np.where(inside, completions - least, 0)], -1)
    order = np.argsort(invocations, kind="stable")
    ranked = invocations[order]
    if bool((ranked[1:] == ranked[:-1]).any()):
        _complain_about_calls(invocations, invoked)
    at = np.minimum(np.searchsorted(ranked, completions), count - 1)
    return np.where(ranked[at] == completions, order[at], -1)


def _complain_about_calls(invocations: Ints, invoked: Ints) -> None:
    seen: set[int] = set()
    for call, at in zip(invocations.tolist(), invoked.tolist(), strict=True):
        if call in seen:
            raise HistoryError("invokes a call that was invoked before: calls are unique", line=at + 2)
        seen.add(call)


def require_unique_ids(ids: Ints, invoked: Ints, id_at: Callable[[int], str]) -> None:
    """Raise HistoryError if one id was sent by two calls. `id_at` reads the id of an event."""
    ranked = np.sort(ids)
    twice = ranked[1:][ranked[1:] == ranked[:-1]]
    if not len(twice):
        return
    seen: dict[str, int] = {}
    for at in invoked[np.isin(ids, twice)].tolist():
        id_ = id_at(at)  # equal hashes are not yet equal ids
        if id_ in seen:
            raise HistoryError(
                f"the id {id_!r} was sent before, on line {seen[id_] + 2}: "
                "every call of send has an id of its own",
                line=at + 2,
            )
        seen[id_] = at


def require_unique_txns(calls: Sequence[RareCall]) -> None:
    """Raise HistoryError if one txn began twice."""
    seen: set[object] = set()
    for call in calls:
        if call.invoked.op == "begin":
            if call.invoked.txn in seen:
                raise HistoryError(
                    f"the transaction {call.invoked.txn!r} began before: txn is unique",
                    line=call.begun_at + 2,
                )
            seen.add(call.invoked.txn)
