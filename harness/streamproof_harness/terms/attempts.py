"""Attempts: the handlings of one record in one group, over all its copies in retry topics.

Attempts and terminal states are judged by root. Not every link is a retry, though: an output
derives from its input, a producer sends again what may be lost, a dead letter is redriven. A copy
counts as a further attempt of what it derives from if the group had sent that off to the copy's
topic (`nack` with ``to``), or had tried it, had not succeeded and had not buried it when the copy
was sent, and handles the copy itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamproof_harness.history import Event
from streamproof_harness.history.codes import FAIL, OK, OP, Array, Ints

if TYPE_CHECKING:
    from streamproof_harness.terms import Terms


@dataclass(slots=True)
class Course:
    """What happened to one root in one group.

    `handles`: rows of its handlings, by invocation. `dead`, `expired`: the notes. `refused`: event
    indexes of `reject` calls that are ok. `delivered`: the first event at which the group got it.
    """

    group: int
    id: int
    handles: list[int] = field(default_factory=list)
    dead: list[Event] = field(default_factory=list)
    expired: list[Event] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    delivered: int = 2**62


@dataclass(frozen=True, slots=True)
class Courses:
    """The courses that are worth a look, and how many are not.

    A record that was handled once, as attempt 1, ok, and to which nothing else happened is *plain*.
    `plain`: how many of them there are in each group.
    """

    notable: list[Course]
    plain: dict[int, int]

    @property
    def count(self) -> int:
        return len(self.notable) + sum(self.plain.values())


def courses_of(terms: Terms) -> Courses:
    """The course of every record that a handling group got, tried, buried or let expire."""
    builder = _Builder(terms)
    plain = builder.plain_rows()
    builder.add_handles(~plain)
    builder.add_notes()
    builder.add_deliveries()
    counts: dict[int, int] = {}
    for group, number in enumerate(np.bincount(terms.handle_group[plain]).tolist()):
        if number:
            counts[group] = number
    return Courses(builder.notable(), counts)


class _Builder:
    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.handles = terms.history.handles
        self.courses: dict[tuple[int, int], Course] = {}
        self._notes = [
            note for op in ("dead-letter", "expire") for note in terms.history.notes_of.get(op, ())
        ]
        self._buried: dict[tuple[int, int], list[Event]] = {}
        for note in terms.history.notes_of.get("dead-letter", ()):
            self._buried.setdefault((terms.group_of(note), hash(note.id)), []).append(note)
        self._is_handle: Array = self.handles.op == OP["handle"]
        self._groups = set(terms.handle_group[self._is_handle].tolist())
        self._groups |= {group for group, _ in self._buried}
        ids = terms.history.sends.id
        copies = self._possible_attempts()
        self._copies = dict(zip(ids[copies].tolist(), copies.tolist(), strict=True))
        self._parents = dict(zip(ids[copies].tolist(), ids[terms.parents[copies]].tolist(), strict=True))
        self._tries, self._sent_away = self._tries_of_linked()

    def _possible_attempts(self) -> Ints:
        """Sends that may be further attempts of what they derive from: a group that had sent that off
        to some topic, or has tried both. The outputs of a transformation, say, are none."""
        terms, handles = self.terms, self.handles
        count = np.int64(len(terms.history.sends.id))
        may_be = np.zeros(count, np.bool_)
        rows = np.flatnonzero(terms.send_of(handles.id) >= 0)
        send, group = terms.send_of(handles.id[rows]), terms.handle_group[rows]
        is_away = (handles.op[rows] == OP["nack"]) & (handles.to[rows] >= 0) & (handles.outcome[rows] != FAIL)
        may_be[send[is_away]] = True
        may_be = may_be[terms.parents] & (terms.parents >= 0)
        tried = self._is_handle[rows]
        send, group = send[tried], group[tried]
        known = np.sort(group * count + send)
        copy, parent = send, terms.parents[send]
        at = np.minimum(np.searchsorted(known, group * count + parent), max(0, len(known) - 1))
        if len(known):
            may_be[copy[(parent >= 0) & (known[at] == group * count + parent)]] = True
        return np.flatnonzero(may_be)

    def _tries_of_linked(self) -> tuple[dict[tuple[int, int], list[int]], set[tuple[int, int, int]]]:
        """Handlings of records that are copies or have some; and where records were sent off to."""
        handles, groups = self.handles, self.terms.handle_group
        linked = np.array([*self._parents, *self._parents.values()], np.int64)
        tries: dict[tuple[int, int], list[int]] = {}
        for row in np.flatnonzero(self._is_handle & np.isin(handles.id, linked)).tolist():
            tries.setdefault((int(groups[row]), int(handles.id[row])), []).append(row)
        away = np.flatnonzero((handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome != FAIL))
        return tries, {
            (int(groups[row]), int(handles.id[row]), int(handles.to[row])) for row in away.tolist()
        }

    def plain_rows(self) -> Array:
        """Handlings that are the whole course of their record."""
        handles, groups = self.handles, self.terms.handle_group
        order = np.lexsort((handles.id, groups))
        order = order[self._is_handle[order]]
        same = (handles.id[order[1:]] == handles.id[order[:-1]]) & (groups[order[1:]] == groups[order[:-1]])
        alone = np.ones(len(order), np.bool_)
        alone[1:] &= ~same
        alone[:-1] &= ~same
        plain = np.zeros(len(handles.id), np.bool_)
        plain[order[alone]] = True
        plain &= (handles.outcome == OK) & (handles.attempt == 1)
        aside = handles.id[~self._is_handle & (handles.op != OP["ack"])].tolist()
        noted = [hash(note.id) for note in self._notes]
        special = np.array([*aside, *noted, *self._parents, *self._parents.values()], np.int64)
        return plain & ~np.isin(handles.id, special)

    def add_handles(self, rows: Array) -> None:
        handles, topics = self.handles, self.terms.logs.topics
        refused = (handles.op == OP["reject"]) & (handles.outcome == OK)
        for row in np.flatnonzero(rows & (self._is_handle | refused)).tolist():
            name = int(self.terms.handle_group[row]), int(handles.id[row])
            if any(note.to == topics[handles.topic[row]] for note in self._buried.get(name, ())):
                continue  # the group reads its own dead letters: that is no further attempt
            course = self._course(*name)
            if self._is_handle[row]:
                course.handles.append(row)
            else:
                course.refused.append(int(handles.completed[row]))
            course.delivered = min(course.delivered, int(handles.invoked[row]))

    def add_notes(self) -> None:
        for note in self._notes:
            course = self._course(self.terms.group_of(note), hash(note.id))
            (course.dead if note.op == "dead-letter" else course.expired).append(note)
            course.delivered = min(course.delivered, note.index)

    def add_deliveries(self) -> None:
        """Records that a handling group got and never tried."""
        terms, records = self.terms, self.terms.history.records
        for group in self._groups:
            known = self.handles.id[self._is_handle & (terms.handle_group == group)].tolist()
            known += [id_ for of, id_ in self.courses if of == group]
            got = (terms.record_group == group) & terms.counts & ~terms.is_moved
            for row in np.flatnonzero(got & ~np.isin(records.id, np.array(known, np.int64))).tolist():
                course = self._course(group, int(records.id[row]))
                done = int(terms.history.polls.completed[records.poll[row]])
                course.delivered = min(course.delivered, done)

    def notable(self) -> list[Course]:
        for course in self.courses.values():
            course.handles.sort(key=lambda row: int(self.handles.invoked[row]))
        return [course for course in self.courses.values() if course.group in self._groups]

    def _course(self, group: int, id_: int) -> Course:
        seen = {id_}
        while id_ in self._parents and self._is_retry(group, id_):
            id_ = self._parents[id_]
            if id_ in seen:
                break
            seen.add(id_)
        return self.courses.setdefault((group, id_), Course(group, id_))

    def _is_retry(self, group: int, copy: int) -> bool:
        """Whether a copy is a further attempt of what it derives from."""
        sends, handles = self.terms.history.sends, self.handles
        row, parent = self._copies[copy], self._parents[copy]
        topic, sent_at = int(sends.topic[row]), int(sends.invoked[row])
        if (group, parent, topic) in self._sent_away:
            return True
        notes = self._buried.get((group, parent), ())
        if any(note.index < sent_at or note.to == self.terms.logs.topics[topic] for note in notes):
            return False
        tries = [at for at in self._tries.get((group, parent), ()) if handles.invoked[at] < sent_at]
        won = any(handles.outcome[at] == OK and handles.completed[at] < sent_at for at in tries)
        return bool(tries) and not won and (group, copy) in self._tries
