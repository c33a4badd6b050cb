"""A group's stored progress in a log: what a reader that asks for it may be told.

That is the last commit that took effect, or one that was in flight: of those that overlap in time
nobody knows which was the last, and one whose outcome is unknown may take effect at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import Ints
from streamproof_harness.terms.order import numbered
from streamproof_harness.terms.transactions import NEVER

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored when a reader asked. `last`: the commit (row) that had taken effect for certain
    and began last, -1: none; `others`: certain ones that may have been the last just as well."""

    last: int
    others: tuple[int, ...]


class Progress:
    """The commits of one group to one log, by the time from which they may have taken effect."""

    def __init__(self, terms: Terms, rows: Ints) -> None:
        commits = terms.commits
        rows = rows[np.argsort(commits.applies_from[rows], kind="stable")]
        certain, unknown = rows[commits.is_certain[rows]], rows[~commits.is_certain[rows]]
        unknown = unknown[commits.may_apply[unknown]]
        log = int(commits.log[rows[0]])
        self._certain = certain
        self._from = commits.applies_from[certain]
        self._by = commits.applies_by[certain]
        self._all_by = np.maximum.accumulate(self._by)
        self._order_by = np.argsort(self._by, kind="stable")
        self._sorted_by = self._by[self._order_by]
        # Of those over by then, the one that began last.
        self._latest = np.maximum.accumulate(self._order_by) if len(certain) else self._order_by
        self._unknown_from = commits.applies_from[unknown]
        self._unknown_lowest = np.minimum.accumulate(commits.offset[unknown]) if len(unknown) else unknown
        self._unknown_since: dict[int, int] = {}
        for rank, since in zip(
            terms.ranks(log, commits.offset[unknown]).tolist(), self._unknown_from.tolist(), strict=True
        ):
            self._unknown_since.setdefault(rank, since)
        self._rows = rows
        self._naming: dict[int, list[int]] = {}
        self._ranks = terms.ranks(log, commits.offset[rows])

    def stored(self, since: int, until: int) -> Stored:
        """What a reader may have been told that asked after `since` and before `until` (event indexes)."""
        over = int(np.searchsorted(self._sorted_by, since))
        last = int(self._latest[over - 1]) if over else -1
        # Everything before this one was over before the last one began.
        start = int(np.searchsorted(self._all_by, self._from[last])) if over else 0
        stop = int(np.searchsorted(self._from, until))
        floor = int(self._from[last]) if over else -1
        others = [at for at in range(start, stop) if at != last and self._by[at] >= floor]
        rows = self._certain
        return Stored(int(rows[last]) if over else -1, tuple(int(rows[at]) for at in others))

    def naming(self, rank: int) -> list[int]:
        """All commits of this position, whatever became of them: rows."""
        if not self._naming:
            for row, own in zip(self._rows.tolist(), self._ranks.tolist(), strict=True):
                self._naming.setdefault(own, []).append(row)
        return self._naming.get(rank, [])

    def may_be_unknown(self, rank: int, until: int) -> bool:
        """Whether a commit of unknown outcome, begun before `until`, stored this position."""
        return self._unknown_since.get(rank, NEVER) < until

    def lowest_unknown(self, until: int) -> int:
        """The lowest offset that a commit of unknown outcome, begun before `until`, may have stored."""
        count = int(np.searchsorted(self._unknown_from, until))
        return int(self._unknown_lowest[count - 1]) if count else NEVER


def progress_of(terms: Terms) -> dict[tuple[int, int], Progress]:
    """The progress of each group in each log that it committed."""
    commits = terms.commits
    rows = np.flatnonzero(commits.log >= 0)
    lane = numbered(commits.group[rows], commits.log[rows])
    order = np.argsort(lane, kind="stable")
    result: dict[tuple[int, int], Progress] = {}
    for start, stop in pairwise(np.flatnonzero(np.diff(lane[order], prepend=-1, append=-1)).tolist()):
        own = rows[order[start:stop]]
        result[int(commits.group[own[0]]), int(commits.log[own[0]])] = Progress(terms, own)
    return result
