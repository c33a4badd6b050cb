"""Sessions: one process' reading of one log, until something ends it.

A session ends at a `revoke` or `lost` of the log, an `assign` without it, a `seek` in it, a `nack`
of one of its records, `crash`, `close`, `open`, or a transaction that did not commit. An operation
with a duration ends it twice, when it is invoked and when it completes: between the two nobody
knows whether it has had its effect.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streamproof_harness.history.codes import FAIL, OP, Array, Ints
from streamproof_harness.history.columns import History
from streamproof_harness.history.tables import RareCall
from streamproof_harness.terms.assignments import Assignments, SessionEnd
from streamproof_harness.terms.order import stable_order
from streamproof_harness.terms.positions import Logs
from streamproof_harness.terms.transactions import NEVER, Transactions


@dataclass(frozen=True, slots=True)
class Sessions:
    """Where sessions end: `of_log` in one log, by process and log; `of_process` in all its logs."""

    of_log: dict[tuple[int, int], Ints]
    of_process: dict[int, Ints]

    def ends(self, process: int, log: int) -> Ints:
        """Event indexes, rising, at which this reading ended."""
        own = self.of_log.get((process, log))
        shared = self.of_process.get(process)
        if own is None or shared is None:
            return shared if own is None and shared is not None else _NONE if own is None else own
        return np.sort(np.concatenate([own, shared]))


_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Reading:
    """The polled records that count, reader by reader: by process and log, then as they came.

    `row`: the record's row; `poll`: its poll's row; `place`: where it stands; `session`: rises
    within a reader whenever its session has ended; `continues`: whether the entry before is of
    the same process and log; `step`: how far this place lies after that of the entry before.
    """

    row: Ints
    poll: Ints
    place: Ints
    session: Ints
    continues: Array
    step: Ints


def session_ends(
    history: History,
    logs: Logs,
    assignments: Assignments,
    polled: Iterable[tuple[int, int]],
    txns: Transactions,
    numbers: dict[str, int],
) -> tuple[list[SessionEnd], list[tuple[int, int]]]:
    """All ends: of one log (those of assignments included), and of all logs of a process.

    `polled`: the processes and the logs that they polled from; `numbers`: those of the processes.
    The second list holds pairs of process and event index.
    """
    ends = list(assignments.ends)
    for process, log in polled:
        # Read without being held, perhaps: an assignment that does not name it ends that too.
        ends += [
            SessionEnd(process, log, index)
            for index, named in assignments.named.get(process, ())
            if log not in named
        ]
    for call in history.calls_of.get("seek", ()):
        if call.outcome != FAIL:
            process = numbers[call.invoked.process]
            for place in call.invoked.offsets or []:
                log = logs.find(place.topic, place.partition)
                ends += [SessionEnd(process, log, index) for index in _both_ends(call)]
    handles = history.handles
    nacked = (handles.op == OP["nack"]) & (handles.outcome != FAIL)
    nack_logs = logs.ids(handles.topic, handles.partition)
    for at in np.flatnonzero(nacked).tolist():
        process, log = int(handles.process[at]), int(nack_logs[at])
        ends.append(SessionEnd(process, log, int(handles.invoked[at])))
        if handles.completed[at] >= 0:
            ends.append(SessionEnd(process, log, int(handles.completed[at])))
    shared = [(numbers[note.process], note.index) for note in history.notes if note.op in ("crash", "open")]
    for call in history.calls_of.get("close", ()):
        if call.outcome != FAIL:
            shared += [(numbers[call.invoked.process], index) for index in _both_ends(call)]
    shared += _ends_of_transactions(history, txns)
    return ends, shared


def _both_ends(call: RareCall) -> list[int]:
    return [call.begun_at] if call.done is None else [call.begun_at, call.done.index]


def _ends_of_transactions(history: History, txns: Transactions) -> list[tuple[int, int]]:
    """Where transactions that did not commit ended, for each process whose polls they cover."""
    ended: dict[str, list[int]] = {}
    for end in history.calls_of.get("end", ()):
        ended.setdefault(str(end.invoked.txn), []).extend(_both_ends(end))
    pollers = _pollers(history)
    result: list[tuple[int, int]] = []
    for txn in np.flatnonzero(~txns.stands & (txns.begun_at >= 0)).tolist():
        name = txns.names[txn]
        covered = {int(txns.process[txn]), *txns.consumers[txn]} | pollers.get(name, set())
        # Without an end of its own it ends when its transactional id goes on to the next one.
        over_at = int(txns.over_at[txn])
        indexes = ended.get(name) or ([over_at] if over_at < NEVER else [])
        result += [(process, index) for process in covered for index in indexes]
    return result


def _pollers(history: History) -> dict[str, set[int]]:
    """The processes that polled within each transaction."""
    polls = history.polls
    rows = np.flatnonzero(polls.txn >= 0)
    pollers: dict[str, set[int]] = {}
    for txn, process in zip(polls.txn[rows].tolist(), polls.process[rows].tolist(), strict=True):
        pollers.setdefault(history.names.txns[txn], set()).add(process)
    return pollers


def sessions_of(ends: list[SessionEnd], shared: list[tuple[int, int]]) -> Sessions:
    """Sort the ends by reader."""
    of_log: dict[tuple[int, int], list[int]] = {}
    for end in ends:
        of_log.setdefault((end.process, end.log), []).append(end.index)
    of_process: dict[int, list[int]] = {}
    for process, index in shared:
        of_process.setdefault(process, []).append(index)
    return Sessions(
        {reader: np.unique(indexes) for reader, indexes in of_log.items()},
        {process: np.unique(indexes) for process, indexes in of_process.items()},
    )


def true_ends(ends: Ints, polled_at: Ints, spans: list[tuple[int, int]]) -> Ints:
    """Those of `ends` at which there was something to end: the log held, or polled since the last one.

    `ends` of one process in one log, `polled_at` the completions of its polls, `spans` when it held it.
    """
    if not len(ends):
        return ends
    polled = np.searchsorted(polled_at, ends)
    is_true = polled > np.concatenate([[0], np.searchsorted(polled_at, ends[:-1])])
    if spans:
        starts = np.array([start for start, _ in spans])
        stops = np.array([stop for _, stop in spans])
        at = np.searchsorted(starts, ends) - 1
        is_true |= (at >= 0) & (stops[np.maximum(at, 0)] >= ends)
    return ends[is_true]


def reading_of(
    history: History,
    sessions: Sessions,
    assignments: Assignments,
    log: Ints,
    place: Ints,
    counts: Array,
    count_of_logs: int,
) -> Reading:
    """Sort the polled records by reader and number their sessions.

    `log`, `place`, `counts`: of every record. A poll's records belong to the session at its
    completion; if the log was lost in the course of the poll, to the one at its invocation.
    """
    records, polls = history.records, history.polls
    taken = (place >= 0) & counts
    rows = np.arange(len(place)) if taken.all() else np.flatnonzero(taken)
    pair = polls.process[records.poll[rows]] * np.int64(count_of_logs) + log[rows]
    order = stable_order(pair)
    pair, rows = pair[order], rows[order]
    continues = np.zeros(len(rows), np.bool_)
    continues[1:] = pair[1:] == pair[:-1]
    poll = records.poll[rows]
    session = np.zeros(len(rows), np.int64)
    bounds = [*np.flatnonzero(~continues).tolist(), len(rows)]
    for start, stop in pairwise(bounds):
        process, number = divmod(int(pair[start]), count_of_logs)
        ends = sessions.ends(process, number)
        if not len(ends):
            continue
        done = polls.completed[poll[start:stop]]
        same = np.full(stop - start, process), np.full(stop - start, number)
        is_held = assignments.held(*same, done, done)
        at = np.where(is_held, done, polls.invoked[poll[start:stop]])
        session[start:stop] = np.searchsorted(ends, at)
    stands = place[rows]
    return Reading(rows, poll, stands, session, continues, np.diff(stands, prepend=stands[:1]))
