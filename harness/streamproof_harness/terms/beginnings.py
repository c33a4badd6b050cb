"""Where readers of a group began: the first records that they polled of a log after they got it.

A reader that gets a log begins where the group's progress is stored, or where its reset policy
says. After a transaction that did not commit it goes back there, or to where that had begun. Where
a reader begins after a `seek` or a `nack` is its own business.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import FAIL, OK, OP, Ints
from streamproof_harness.terms.progress import Stored
from streamproof_harness.terms.taken import Taken
from streamproof_harness.terms.transactions import ABORTED, NEVER

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(frozen=True, slots=True)
class Beginning:
    """`entry`: of the reading, its first one. The reader asked for its place between the events
    `since` and `until`. `stored`: what the group had stored; `lowest`: the lowest offset that may
    have been stored, -1 where it is not certain that any was. `expects`: where it should have begun,
    in words, empty if it did. `is_by_unknown`: only a commit of unknown outcome explains where it began."""

    entry: int
    process: int
    log: int
    group: int
    since: int
    until: int
    stored: Stored
    lowest: int
    expects: str = ""
    is_by_unknown: bool = False


class _Spans:
    """Operations of one process in one log that take time: was one under way?"""

    def __init__(self) -> None:
        self._begun: list[int] = []
        self._ended: list[int] = []

    def add(self, begun: int, ended: int) -> None:
        """Spans come in the order of their beginnings."""
        self._begun.append(begun)
        self._ended.append(max(ended, self._ended[-1] if self._ended else -1))

    def any(self, since: int, until: int) -> bool:
        """Whether any began before `until` and ended after `since`."""
        count = bisect_left(self._begun, until)
        return count > 0 and self._ended[count - 1] >= since


def beginnings_of(terms: Terms) -> list[Beginning]:
    """All beginnings of readers in named groups, by the time of their polls."""
    return _Builder(terms).beginnings()


class _Builder:
    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.never = terms.history.events + 1
        self._turns = self._turns_of_readers()
        self._rewinds = self._rewinds_of_readers()
        self._opens: dict[int, list[tuple[int, str]]] = {}
        for note in terms.history.notes_of.get("open", ()):
            reset = note.reset if isinstance(note.reset, str) else ""
            self._opens.setdefault(terms.processes[note.process], []).append((note.index, reset))
        self._committing = set(terms.commits.group.tolist())
        self._read: set[tuple[int, int]] = set()
        # A process that nobody assigned anything to may have got its logs as soon as it was there.
        by = terms.history.process
        self._first_events = np.zeros(len(terms.processes), np.int64)
        self._first_events[by[::-1]] = np.arange(len(by))[::-1]

    def _turns_of_readers(self) -> dict[tuple[int, int], _Spans]:
        """Seeks and nacks: after them a reader goes its own way."""
        terms, turns = self.terms, []
        for call in terms.history.calls_of.get("seek", ()):
            if call.outcome != FAIL:
                process = terms.processes[call.invoked.process]
                for place in call.invoked.offsets or []:
                    log = terms.logs.find(place.topic, place.partition)
                    turns.append((call.begun_at, call.ended_at(self.never), process, log))
        handles = terms.history.handles
        for at in np.flatnonzero((handles.op == OP["nack"]) & (handles.outcome != FAIL)).tolist():
            ended = int(handles.completed[at]) if handles.completed[at] >= 0 else self.never
            turns.append(
                (int(handles.invoked[at]), ended, int(handles.process[at]), int(terms.handle_log[at]))
            )
        result: dict[tuple[int, int], _Spans] = {}
        for begun, ended, process, log in sorted(turns):
            result.setdefault((process, log), _Spans()).add(begun, ended)
        return result

    def _rewinds_of_readers(self) -> dict[tuple[int, int], list[Taken]]:
        """What uncommitted transactions took from each reader, by the time they were over."""
        rewinds: dict[tuple[int, int], list[Taken]] = {}
        over = self.terms.transactions.over_at
        for taken in sorted(self.terms.taken, key=lambda taken: int(over[taken.txn])):
            rewinds.setdefault((taken.process, taken.log), []).append(taken)
        return rewinds

    def beginnings(self) -> list[Beginning]:
        """One for each session whose beginning is the group's affair."""
        reading, polls = self.terms.reading, self.terms.history.polls
        fresh = ~reading.continues
        fresh[1:] |= reading.session[1:] != reading.session[:-1]
        fresh &= self.terms.record_group[reading.row] < self.terms.count_of_named_groups
        entries = np.flatnonzero(fresh)
        entries = entries[np.argsort(polls.completed[reading.poll[entries]], kind="stable")]
        found = (self._beginning(entry) for entry in entries.tolist())
        return [one for one in found if one is not None]

    def _beginning(self, entry: int) -> Beginning | None:
        terms, reading, polls = self.terms, self.terms.reading, self.terms.history.polls
        row, poll = int(reading.row[entry]), int(reading.poll[entry])
        process, log = int(polls.process[poll]), int(terms.record_log[row])
        group, until = int(terms.record_group[row]), int(polls.completed[poll])
        is_first = (group, log) not in self._read
        self._read.add((group, log))
        since = self._held_since(process, log, poll)
        taken = None
        if since is None:
            return None
        if reading.continues[entry] and polls.completed[reading.poll[entry - 1]] > since:
            taken = self._rewound_by(process, log, entry)
            if taken is None or polls.invoked[poll] < self._ended_at(taken.txn):
                return None
            since = int(terms.transactions.over_at[taken.txn])
        turns = self._turns.get((process, log))
        if turns is not None and turns.any(since, until):
            return None
        if not is_first and group not in self._committing:
            return None  # perhaps it does commit, and nobody recorded it
        progress = terms.progress.get((group, log))
        stored = Stored(-1, ()) if progress is None else progress.stored(since, until)
        lowest = -1
        if progress is not None and stored.last >= 0:
            rows = [stored.last, *stored.others]
            offsets = terms.commits.offset[rows].tolist()
            lowest = min(*offsets, progress.lowest_unknown(until))
        one = Beginning(entry, process, log, group, since, until, stored, lowest)
        expects = self._expected(one, taken)
        rank = int(terms.known_before[reading.place[entry]])
        if expects and progress is not None and progress.may_be_unknown(rank, until):
            return replace(one, is_by_unknown=True)
        return replace(one, expects=expects)

    def _held_since(self, process: int, log: int, poll: int) -> int | None:
        """When the process had got the log under which it polled; None: it did not hold it."""
        polls, assignments = self.terms.history.polls, self.terms.assignments
        invoked, done = int(polls.invoked[poll]), int(polls.completed[poll])
        if not assignments.assigned[process]:
            ends = self.terms.holding.interruptions(process, log)
            before = int(np.searchsorted(ends, done))
            return int(ends[before - 1]) if before else int(self._first_events[process])
        spans = assignments.spans.get((process, log), [])
        at = bisect_right(spans, (done, self.never)) - 1
        return spans[at][0] if at >= 0 and spans[at][1] >= invoked else None

    def _ended_at(self, txn: int) -> int:
        txns = self.terms.transactions
        ended, over = int(txns.last_end_at[txn]), int(txns.over_at[txn])
        return ended if ended < NEVER else over

    def _rewound_by(self, process: int, log: int, entry: int) -> Taken | None:
        """The last transaction that gave back what it had taken since the entry before."""
        reading, polls = self.terms.reading, self.terms.history.polls
        since = int(polls.completed[reading.poll[entry - 1]])
        until = int(polls.completed[reading.poll[entry]])
        over = self.terms.transactions.over_at
        rewinds = self._rewinds.get((process, log), [])
        at = bisect_left(rewinds, until, key=lambda taken: int(over[taken.txn])) - 1
        return rewinds[at] if at >= 0 and over[rewinds[at].txn] > since else None

    # -- where it should have begun --------------------------------------------------------------------

    def _expected(self, one: Beginning, taken: Taken | None) -> str:
        """Where it should have begun if no commit of unknown outcome took effect; nothing if it did."""
        terms, commits = self.terms, self.terms.commits
        place = int(terms.reading.place[one.entry])
        rank = int(terms.known_before[place])
        rows = [row for row in (one.stored.last, *one.stored.others) if row >= 0]
        offsets = commits.offset[rows]
        if rank in terms.ranks(one.log, offsets).tolist():
            return ""
        if taken is not None and (place in taken.starts or self._goes_on(one, taken, rank)):
            return ""
        last = int(offsets[0]) if one.stored.last >= 0 else -1
        if (last < 0 or last < terms.trimmed.get(one.log, 0)) and self._is_reset(one, rank):
            return ""
        if last < 0 and len(rows):
            return "an offset that was committed"
        if last < 0:
            return f"the {self._reset(one)} offset, for nothing was committed"
        return f"offset {last}, which was committed last"

    def _goes_on(self, one: Beginning, taken: Taken, rank: int) -> bool:
        """A transaction of unknown outcome may have committed nothing of this log: then it goes on."""
        reading = self.terms.reading
        before = int(self.terms.known_before[reading.place[one.entry - 1] + 1])
        return self.terms.transactions.state[taken.txn] != ABORTED and rank == before

    def _reset(self, one: Beginning) -> str:
        """The reset policy with which the process opened last."""
        return self._opened(one)[1]

    def _opened(self, one: Beginning) -> tuple[int, str]:
        opens = self._opens.get(one.process, [])
        at = bisect_left(opens, (one.until, "")) - 1
        return opens[at] if at >= 0 else (-1, "")

    def _is_reset(self, one: Beginning, rank: int) -> bool:
        """Whether a reader without any progress may begin here: anywhere, if its policy is not known."""
        terms, reset = self.terms, self._reset(one)
        if reset == "earliest":
            return rank == int(terms.ranks(one.log, np.zeros(1, np.int64))[0])
        if reset == "latest":
            opened = self._opened(one)[0]
            send = int(terms.record_send[terms.reading.row[one.entry]])
            sends = terms.history.sends
            return send < 0 or sends.outcome[send] != OK or bool(sends.completed[send] > opened)
        return True


def session_beginnings(terms: Terms) -> Ints:
    """For each entry of the reading the entry at which its session began."""
    reading = terms.reading
    fresh = ~reading.continues
    fresh[1:] |= reading.session[1:] != reading.session[:-1]
    return np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))
