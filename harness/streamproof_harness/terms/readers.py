"""Who reads which log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.codes import FAIL
from streamproof_harness.terms.ranges import Reader

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


def readers_of(terms: Terms) -> dict[tuple[int, int], Reader]:
    """Every pair of a process and a log that it reads, with what is known of its reading."""
    readers: dict[tuple[int, int], Reader] = {}
    _add_polled(terms, readers)
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


def _add_polled(terms: Terms, readers: dict[tuple[int, int], Reader]) -> None:
    """Readers by what they polled; only they can have a range that begins at a polled offset."""
    history = terms.history
    count = terms.logs.count
    pair = history.polls.process[history.records.poll] * np.int64(count) + terms.record_log
    if len(pair) and pair.max() < 2**16:
        pair = pair.astype(np.uint16)
    order = np.argsort(pair, kind="stable")
    ranked = pair[order]
    cuts = np.flatnonzero(np.diff(ranked.astype(np.int64), prepend=-1, append=-1))
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        rows = order[start:stop]
        rows = rows[history.records.offset[rows] >= 0]
        process, log = divmod(int(ranked[start]), count)
        readers[process, log] = Reader(
            at=history.polls.completed[history.records.poll[rows]],
            offset=history.records.offset[rows],
        )


def _add_unassigned(terms: Terms, readers: dict[tuple[int, int], Reader]) -> None:
    """A process without any `assign` holds every log of its topics."""
    history, logs = terms.history, terms.logs
    topics: dict[int, set[int]] = {
        int(process): set() for process in np.unique(history.polls.process).tolist()
    }
    for note in history.notes_of.get("open", ()):
        process = terms.processes[note.process]
        if note.role == "consumer" or process in topics:
            # A topic without any log here is named all the same: -1 stands for it.
            opened = {logs.topic_number.get(topic, -1) for topic in note.topics or ()}
            topics.setdefault(process, set()).update(opened)
    for process, log in list(readers):
        topics.setdefault(process, set()).add(int(logs.topic_of(np.array([log]))[0]))
    known = np.unique(np.concatenate([terms.send_log[terms.send_log >= 0], terms.record_log]))
    topic_of = logs.topic_of(known)
    for process, named in topics.items():
        if not terms.assignments.assigned[process]:
            for log, topic in zip(known.tolist(), topic_of.tolist(), strict=True):
                if topic in named or not named:
                    readers.setdefault((process, log), Reader())
