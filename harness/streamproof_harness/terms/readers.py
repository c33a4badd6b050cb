"""Who reads which log."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history.codes import FAIL, Ints
from streamproof_harness.terms.order import occurring, stable_order
from streamproof_harness.terms.ranges import Reader

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


def readers_of(terms: Terms) -> dict[tuple[int, int], Reader]:
    """Every pair of a process and a log that it reads, with what is known of its reading."""
    readers = {
        reader: Reader(at=at[offset >= 0], offset=offset[offset >= 0])
        for reader, (at, offset) in terms.polled_by.items()
    }
    for pair in terms.assignments.spans:
        readers.setdefault(pair, Reader())
    _add_unassigned(terms, readers)
    for begin in terms.assignments.begins:
        reader = readers.setdefault((begin.process, begin.log), Reader())
        reader.begins.append((begin.index, begin.offset))
    for call in terms.history.calls_of.get("seek", ()):
        if call.outcome != FAIL:
            process = terms.processes[call.invoked.process]
            for place in call.invoked.offsets or []:
                log = terms.logs.find(place.topic, place.partition)
                reader = readers.setdefault((process, log), Reader())
                reader.seeks.append((call.begun_at, place.offset))
    latest = {
        terms.processes[note.process]
        for note in terms.history.notes_of.get("open", ())
        if note.reset == "latest"
    }
    for (process, _), reader in readers.items():
        reader.is_latest = process in latest
    return readers


def polled_by(terms: Terms) -> dict[tuple[int, int], tuple[Ints, Ints]]:
    """What each process polled of each log, as it came: completions of the polls, and offsets."""
    history = terms.history
    count = terms.logs.count
    pair = history.polls.process[history.records.poll] * np.int64(count) + terms.record_log
    order = stable_order(pair)
    ranked = pair[order]
    polled: dict[tuple[int, int], tuple[Ints, Ints]] = {}
    cuts = np.flatnonzero(np.diff(ranked, prepend=-1, append=-1)).tolist()
    for start, stop in pairwise(cuts):
        rows = order[start:stop]
        process, log = divmod(int(ranked[start]), count)
        at = history.polls.completed[history.records.poll[rows]]
        polled[process, log] = at, history.records.offset[rows]
    return polled


def _add_unassigned(terms: Terms, readers: dict[tuple[int, int], Reader]) -> None:
    """A process without any `assign` holds every log of its topics."""
    history, logs = terms.history, terms.logs
    topics: dict[int, set[int]] = {
        int(process): set() for process in occurring(history.polls.process).tolist()
    }
    for note in history.notes_of.get("open", ()):
        process = terms.processes[note.process]
        if note.role == "consumer" or process in topics:
            # A topic without any log here is named all the same: -1 stands for it.
            opened = {logs.topic_number.get(topic, -1) for topic in note.topics or ()}
            topics.setdefault(process, set()).update(opened)
    for process, log in list(readers):
        topics.setdefault(process, set()).add(int(logs.topic_of(np.array([log]))[0]))
    is_known = np.zeros(logs.count + 1, np.bool_)  # the last entry is for log -1
    is_known[terms.send_log] = is_known[terms.record_log] = True
    known = np.flatnonzero(is_known[:-1])
    topic_of = logs.topic_of(known)
    for process, named in topics.items():
        if not terms.assignments.assigned[process]:
            for log, topic in zip(known.tolist(), topic_of.tolist(), strict=True):
                if topic in named or not named:
                    readers.setdefault((process, log), Reader())
