"""The terms in which the anomalies are defined, computed once from a history and shared.

Each attribute of `Terms` is computed when it is first asked for. The definitions are those of
``docs/reference/histories.md``; the modules of this package are named after them.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from streamproof_harness.history import Event
from streamproof_harness.history.codes import OK, OP, Array, Ints
from streamproof_harness.history.columns import History
from streamproof_harness.terms import transactions
from streamproof_harness.terms.assignments import Assignments, SessionEnd, assignments_of
from streamproof_harness.terms.attempts import Courses, courses_of
from streamproof_harness.terms.beginnings import Beginning, beginnings_of
from streamproof_harness.terms.commits import Commits, commits_of
from streamproof_harness.terms.coverage import Coverage, coverage_of
from streamproof_harness.terms.excuses import Excuses, fault_spans
from streamproof_harness.terms.holding import Holding
from streamproof_harness.terms.order import occurring, stable_order
from streamproof_harness.terms.positions import Logs, Places
from streamproof_harness.terms.progress import Progress, progress_of
from streamproof_harness.terms.ranges import Ranges, Reader
from streamproof_harness.terms.readers import polled_by, readers_of
from streamproof_harness.terms.roots import moved_records, parents_of, roots_of
from streamproof_harness.terms.sends import SentIds, first_of_sends, sends_of_records
from streamproof_harness.terms.sessions import (
    Reading,
    Sessions,
    reading_of,
    session_ends,
    sessions_of,
    true_ends,
)
from streamproof_harness.terms.taken import Taken, taken_by_uncommitted
from streamproof_harness.terms.transactions import Transactions

_NONE = np.empty(0, np.int64)


class Terms:
    """All terms of one history. Arrays follow the rows of `history.sends` or `history.records`."""

    def __init__(self, history: History) -> None:
        self.history = history

    # -- names -------------------------------------------------------------------------------------

    @cached_property
    def processes(self) -> dict[str, int]:
        """The number of each process."""
        return {name: number for number, name in enumerate(self.history.names.processes)}

    @cached_property
    def logs(self) -> Logs:
        """The logs of the history, numbered."""
        history = self.history
        sends, records, handles = history.sends, history.records, history.handles
        numbers = {topic: number for number, topic in enumerate(history.names.topics)}
        pairs = [
            (numbers.setdefault(topic, len(numbers)), partition)
            for event in [*history.notes, *(call.invoked for call in history.rare_calls)]
            for topic, partition in _logs_named_by(event)
        ]
        named = (
            np.array([topic for topic, _ in pairs], np.int64),
            np.array([partition for _, partition in pairs], np.int64),
        )
        acked = sends.partition >= 0
        return Logs(
            tuple(numbers),
            [
                (records.topic, records.partition),
                (sends.topic[acked], sends.partition[acked]),
                (handles.topic, handles.partition),
                named,
            ],
        )

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of groups; behind the named ones, those that one process each forms for itself."""
        return (*self._named_groups, *self.history.names.processes)

    @cached_property
    def _named_groups(self) -> tuple[str, ...]:
        names = dict.fromkeys(self.history.names.groups)
        for event in [*self.history.notes, *(call.invoked for call in self.history.rare_calls)]:
            if isinstance(event.group, str):
                names.setdefault(event.group)
        return tuple(names)

    @cached_property
    def _group_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._named_groups)}

    @cached_property
    def poll_group(self) -> Ints:
        """The group of each poll; a poll without one is in the group of its process."""
        polls = self.history.polls
        return self._group_or_own(polls.group, polls.process)

    @cached_property
    def record_group(self) -> Ints:
        """The group of each polled record."""
        return self.poll_group[self.history.records.poll]

    @cached_property
    def handle_group(self) -> Ints:
        """The group of each handled, acknowledged or refused record."""
        handles = self.history.handles
        return self._group_or_own(handles.group, handles.process)

    @property
    def count_of_named_groups(self) -> int:
        """Groups from this number on are formed by one process."""
        return len(self._named_groups)

    def _group_or_own(self, group: Array, process: Array) -> Ints:
        return np.where(group >= 0, group, len(self._named_groups) + process)

    def group_of(self, event: Event) -> int:
        """The number of the group that an event names, or of its process' own."""
        if isinstance(event.group, str):
            return self._group_numbers[event.group]
        return len(self._named_groups) + self.processes[event.process]

    # -- places ------------------------------------------------------------------------------------

    @cached_property
    def send_log(self) -> Ints:
        """The log that acknowledged each send, -1 where none did."""
        sends = self.history.sends
        return self.logs.ids(sends.topic, sends.partition)

    @cached_property
    def record_log(self) -> Ints:
        """The log from which each record was polled."""
        records = self.history.records
        return self.logs.ids(records.topic, records.partition)

    @cached_property
    def handle_log(self) -> Ints:
        """The log of each handled, acknowledged or refused record."""
        handles = self.history.handles
        return self.logs.ids(handles.topic, handles.partition)

    @cached_property
    def expires(self) -> Ints:
        """When each send expires, ABSENT where it does not."""
        return self.history.sends.expires.dense(len(self.history.sends.id))

    @cached_property
    def places(self) -> Places:
        """The places of all offsets that were acknowledged or polled."""
        sends, records = self.history.sends, self.history.records
        entries = []
        for log, offset in ((self.send_log, sends.offset), (self.record_log, records.offset)):
            known = (log >= 0) & (offset >= 0)
            entries.append((log, offset) if known.all() else (log[known], offset[known]))
        return Places(self.logs.count, entries)

    @cached_property
    def ack_place(self) -> Ints:
        """Where each send was acknowledged, -1 where that is not known."""
        return self.places.of(self.send_log, self.history.sends.offset)

    @cached_property
    def record_place(self) -> Ints:
        """Where each polled record stood, -1 where that is not known."""
        return self.places.of(self.record_log, self.history.records.offset)

    @cached_property
    def record_send(self) -> Ints:
        """The send of each polled record, -1 where nobody sent its id."""
        history = self.history
        return sends_of_records(
            history.sends.id,
            self.ack_place,
            history.records.id,
            self.record_place,
            self.places.count,
            self._sent_ids,
        )

    @cached_property
    def _sent_ids(self) -> SentIds:
        return SentIds(self.history.sends.id)

    def send_of(self, ids: Ints) -> Ints:
        """The send of each id (hashed), -1 where nobody sent it."""
        return self._sent_ids.rows(ids)

    @cached_property
    def send_place(self) -> Ints:
        """Where each send stands: as acknowledged, else the first place it was polled from."""
        if self.ack_place.min(initial=0) >= 0:
            return self.ack_place
        first = self.first_poll
        place = self.ack_place.copy()
        unknown = np.flatnonzero((place < 0) & (first >= 0))
        place[unknown] = self.record_place[first[unknown]]
        return place

    @cached_property
    def place_log(self) -> Ints:
        """The log in which each send stands, -1 where its place is not known."""
        log = np.where(self.ack_place >= 0, self.send_log, -1)
        unknown = np.flatnonzero((log < 0) & (self.first_poll >= 0))
        log[unknown] = self.record_log[self.first_poll[unknown]]
        return log

    @cached_property
    def first_poll(self) -> Ints:
        """The first polled record of each send that tells an offset, moved ones aside; -1: none."""
        rows = np.where(self.is_moved | (self.record_place < 0), -1, np.arange(len(self.record_place)))
        return first_of_sends(len(self.ack_place), self.record_send, rows)

    @cached_property
    def home(self) -> Ints:
        """The log of each send: as acknowledged, else the first it was polled from."""
        if self.send_log.min(initial=0) >= 0:
            return self.send_log
        log = np.where(self.is_moved, -1, self.record_log)
        polled_from = first_of_sends(len(self.send_log), self.record_send, log)
        return np.where(self.send_log >= 0, self.send_log, polled_from)

    @cached_property
    def highest_polled(self) -> tuple[Ints, Ints]:
        """For each log the highest offset that anybody polled (-1: none), and the row of a poll of it."""
        records = self.history.records
        highest = np.full(self.logs.count, -1, np.int64)
        np.maximum.at(highest, self.record_log, records.offset)
        poll = np.full(self.logs.count, -1, np.int64)
        is_highest = records.offset == highest[self.record_log]
        poll[self.record_log[is_highest]] = records.poll[is_highest]
        return highest, poll

    # -- origins -------------------------------------------------------------------------------------

    @cached_property
    def is_moved(self) -> Array:
        """Which polled records came from the topic that the broker had moved them to."""
        return moved_records(self.history, self.logs.topic_number)

    @cached_property
    def parents(self) -> Ints:
        """The send that each send derives from, -1 where there is none, or more than one."""
        return parents_of(len(self.history.sends.id), self._sent_ids, self.history.sends.derived)

    @cached_property
    def roots(self) -> Ints:
        """The root of each send: a row of sends."""
        return roots_of(self.parents)

    # -- what stands ---------------------------------------------------------------------------------

    @cached_property
    def is_polled(self) -> Array:
        """Which sends were polled by anybody."""
        polled = np.zeros(len(self.history.sends.id), np.bool_)
        polled[self.record_send[self.record_send >= 0]] = True
        return polled

    @cached_property
    def txn_numbers(self) -> dict[str, int]:
        """The number of each transaction that anything belongs to."""
        numbers = {name: number for number, name in enumerate(self.history.names.txns)}
        for op in ("begin", "end", "commit"):
            for call in self.history.calls_of.get(op, ()):
                if isinstance(call.invoked.txn, str):
                    numbers.setdefault(call.invoked.txn, len(numbers))
        return numbers

    @cached_property
    def txn_states(self) -> Array:
        """The state of each transaction, as `terms.transactions` numbers them."""
        history = self.history
        numbers = self.txn_numbers
        ends = history.calls_of.get("end", [])
        states = transactions.declared_states(len(numbers), numbers, ends)
        return transactions.prove(states, self.record_txn[self.read_committed_of_txns])

    @cached_property
    def send_txn(self) -> Ints:
        """The transaction of each send, -1 where there is none."""
        return self.history.sends.txn.dense(len(self.history.sends.id), absent=-1)

    @cached_property
    def record_txn(self) -> Ints:
        """The transaction that sent each polled record, -1 where there is none."""
        if not len(self.history.sends.txn.rows):
            return np.full(len(self.record_send), -1)
        return np.where(self.record_send >= 0, self.send_txn[self.record_send], -1)

    @cached_property
    def read_committed_of_txns(self) -> Ints:
        """The rows of the records of transactions that read-committed polls returned, as they came."""
        polls = self.history.polls
        rows = np.flatnonzero(self.record_txn >= 0)
        return rows[~polls.uncommitted[self.history.records.poll[rows]]]

    @cached_property
    def transactions(self) -> Transactions:
        """The table of the transactions."""
        rows = self.read_committed_of_txns[::-1]  # so that the first is written last
        first_seen = np.full(len(self.txn_numbers), transactions.NEVER)
        first_seen[self.record_txn[rows]] = self.history.polls.completed[self.history.records.poll[rows]]
        return transactions.transactions_of(
            self.txn_numbers, self.txn_states, self.history.calls_of, self.processes, first_seen
        )

    @cached_property
    def coverage(self) -> Coverage:
        """Which polls belong to which transaction."""
        return coverage_of(self)

    @cached_property
    def _txn_stands(self) -> Array:
        """Which sends have no transaction, or one that is committed or proven."""
        txn = self.history.sends.txn
        stands = np.ones(len(self.history.sends.id), np.bool_)
        stands[txn.rows] = transactions.stands(self.txn_states)[txn.values]
        return stands

    @cached_property
    def is_effective(self) -> Array:
        """Which sends count: ok or polled, and of no transaction or of one that stands."""
        is_there: Array = (self.history.sends.outcome == OK) | self.is_polled
        return is_there & self._txn_stands

    @cached_property
    def counts(self) -> Array:
        """Which polled records count: all but those of transactions that do not stand."""
        if not len(self.history.sends.txn.rows):
            return np.ones(len(self.record_send), np.bool_)
        counts: Array = (self.record_send < 0) | self._txn_stands[self.record_send]
        return counts

    @cached_property
    def standing_before(self) -> Ints:
        """How many effective, untrimmed sends stand before each place (one more entry than places)."""
        return self._running_count(self._standing_places)

    @cached_property
    def known_before(self) -> Ints:
        """The same of everything known: effective sends and polled records that count.

        A difference of two entries is the difference of two positions.
        """
        polled = self.record_place[self.counts]
        return self._running_count(np.concatenate([self._standing_places, polled[polled >= 0]]))

    def ranks(self, log: int, offsets: Ints) -> Ints:
        """How many known, untrimmed records stand before some offsets of a log (and in logs before it)."""
        ranks: Ints = self.known_before[self.places.firsts_at(log, offsets)]
        return ranks

    @property
    def _standing_places(self) -> Ints:
        return self.send_place[self.is_effective & (self.send_place >= 0)]

    def _running_count(self, places: Ints) -> Ints:
        standing = np.zeros(self.places.count + 1, np.int64)
        standing[places + 1] = 1
        for log, first in self.trimmed.items():
            start = self.places.first_at(log, 0)
            standing[start + 1 : self.places.first_at(log, first) + 1] = 0
        return np.cumsum(standing)

    # -- readers -----------------------------------------------------------------------------------

    @cached_property
    def assignments(self) -> Assignments:
        """Which process held which log when."""
        closes = self.history.calls_of.get("close", [])
        return assignments_of(self.history.notes, closes, self.processes, self.logs, self.history.events + 1)

    @cached_property
    def holding(self) -> Holding:
        """Where a process' hold of a log is interrupted."""
        return Holding(self)

    @cached_property
    def _session_ends(self) -> tuple[list[SessionEnd], list[tuple[int, int]]]:
        return session_ends(
            self.history, self.logs, self.assignments, self.polled_by, self.transactions, self.processes
        )

    @cached_property
    def sessions(self) -> Sessions:
        """Where the sessions of each reader end."""
        return sessions_of(*self._session_ends)

    @cached_property
    def reading(self) -> Reading:
        """The polled records that count and whose offset is known, reader by reader."""
        return reading_of(
            self.history,
            self.sessions,
            self.assignments,
            self.record_log,
            self.record_place,
            self.counts,
            self.logs.count,
        )

    @cached_property
    def polled_by(self) -> dict[tuple[int, int], tuple[Ints, Ints]]:
        """What each process polled of each log: when the polls completed, and the offsets (-1: unknown)."""
        return polled_by(self)

    @cached_property
    def readers(self) -> dict[tuple[int, int], Reader]:
        """Every process and log of which the process is a reader.

        A process reads what it was assigned and what it polled from; without any `assign`, all
        logs of the topics that it opened or polled from, and, if it named none, every log.
        """
        return readers_of(self)

    @cached_property
    def trimmed(self) -> dict[int, int]:
        """For each trimmed log the highest first offset that a `trim` named."""
        trimmed: dict[int, int] = {}
        for note in self.history.notes_of.get("trim", ()):
            for place in note.starts or []:
                log = self.logs.find(place.topic, place.partition)
                trimmed[log] = max(trimmed.get(log, 0), place.offset)
        return trimmed

    @cached_property
    def ranges(self) -> Ranges:
        """What readers had to see of each log."""
        return self._ranges(set(range(len(self.groups))))

    def ranges_of(self, groups: set[int]) -> Ranges:
        """What the readers of some groups had to see."""
        return self._ranges(groups)

    def _ranges(self, groups: set[int]) -> Ranges:
        stretches = (
            (log, stretch)
            for (process, log), reader in self.readers.items()
            if not groups.isdisjoint(self.groups_of_process.get(process, groups))
            for stretch in reader.stretches()
        )
        return Ranges(self.logs.count, stretches, self.trimmed)

    # -- groups ------------------------------------------------------------------------------------

    @cached_property
    def groups_of_process(self) -> dict[int, set[int]]:
        """The groups in which each process polled, handled or was assigned."""
        groups: dict[int, set[int]] = {}
        polls, handles = self.history.polls, self.history.handles
        for process, group in ((polls.process, self.poll_group), (handles.process, self.handle_group)):
            for pair in occurring(process * np.int64(len(self.groups)) + group).tolist():
                groups.setdefault(pair // len(self.groups), set()).add(pair % len(self.groups))
        for event in [*self.history.notes, *(call.invoked for call in self.history.rare_calls)]:
            if event.op in ("assign", "revoke", "lost") or isinstance(event.group, str):
                groups.setdefault(self.processes[event.process], set()).add(self.group_of(event))
        return groups

    @cached_property
    def excuses(self) -> Excuses:
        """What excuses a repeated delivery."""
        return self._excuses(self.sessions)

    @cached_property
    def excuses_but_nacks(self) -> Excuses:
        """The same without nacks, which end a session but are themselves counted as attempts."""
        handles = self.history.handles
        nacked = handles.op == OP["nack"]
        of_nacks = {*handles.invoked[nacked].tolist(), *handles.completed[nacked].tolist()}
        of_log, of_process = self._session_ends
        kept = [end for end in of_log if end.index not in of_nacks]
        return self._excuses(sessions_of(kept, of_process))

    def _excuses(self, sessions: Sessions) -> Excuses:
        faults = fault_spans(self.history.notes_of.get("fault", ()), self.history.events + 1)
        ends: dict[tuple[int, int], list[Ints]] = {}
        for process, log in {*self.polled_by, *self.assignments.spans}:
            polled_at = self.polled_by.get((process, log), (_NONE, _NONE))[0]
            spans = self.assignments.spans.get((process, log), [])
            own = true_ends(sessions.ends(process, log), polled_at, spans)
            for group in self.groups_of_process.get(process, ()) if len(own) else ():
                ends.setdefault((group, log), []).append(own)
        return Excuses({name: np.unique(np.concatenate(own)) for name, own in ends.items()}, faults)

    @cached_property
    def commits(self) -> Commits:
        """The commits, one row for each log."""
        return commits_of(self, self._group_numbers)

    @cached_property
    def commit_place(self) -> Ints:
        """The place of the first offset at or above that of each commit: what it covers lies below."""
        commits = self.commits
        places = np.full(len(commits.log), -1, np.int64)
        rows = np.flatnonzero(commits.log >= 0)
        rows = rows[stable_order(commits.log[rows])]
        cuts = np.flatnonzero(np.diff(commits.log[rows], prepend=-1, append=-1)).tolist()
        for start, stop in pairwise(cuts):
            own = rows[start:stop]
            places[own] = self.places.firsts_at(int(commits.log[own[0]]), commits.offset[own])
        return places

    @cached_property
    def progress(self) -> dict[tuple[int, int], Progress]:
        """What each group had stored in each log, by group and log."""
        return progress_of(self)

    @cached_property
    def taken(self) -> list[Taken]:
        """What transactions that did not commit had polled."""
        return taken_by_uncommitted(self)

    @cached_property
    def beginnings(self) -> list[Beginning]:
        """Where readers of named groups began."""
        return beginnings_of(self)

    @cached_property
    def courses(self) -> Courses:
        """The attempts and ends of each record in each handling group."""
        return courses_of(self)

    # -- the end of the run ----------------------------------------------------------------------------

    @cached_property
    def drained_at(self) -> int:
        """The index of the last complete drain, -1 without one."""
        return -1 if self._last_drain is None else self._last_drain.index

    @cached_property
    def drained_groups(self) -> set[int]:
        """The groups that the last complete drain was of: those it names, or all."""
        if self._last_drain is None:
            return set()
        named = self._last_drain.groups
        if not isinstance(named, list):
            return set(range(len(self.groups)))
        return {number for number, name in enumerate(self.groups) if name in named}

    @property
    def _last_drain(self) -> Event | None:
        complete = [note for note in self.history.notes_of.get("drained", ()) if note.complete]
        return complete[-1] if complete else None


def _logs_named_by(event: Event) -> list[tuple[str, int]]:
    named: list[tuple[str, int]] = []
    for field in (event.offsets, event.positions, event.starts, event.ends, event.stable_ends):
        if isinstance(field, list):
            named += [(place.topic, place.partition) for place in field]
    if isinstance(event.partitions, list):
        named += [(log.topic, log.partition) for log in event.partitions]
    elif isinstance(event.partitions, int) and isinstance(event.topic, str):
        named.append((event.topic, event.partitions - 1))
    return named
