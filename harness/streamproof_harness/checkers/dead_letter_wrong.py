"""dead-letter-wrong: a record ended in no way, in two, or was buried without cause."""

import numpy as np

from streamproof_harness.checkers.wording import example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history import Event
from streamproof_harness.history.codes import ABSENT, OK
from streamproof_harness.terms import Terms
from streamproof_harness.terms.attempts import Course
from streamproof_harness.verdict import Example, Finding

_Deliveries = dict[tuple[int, int], list[int]]


def judge(terms: Terms, contract: Contract) -> Finding:
    """Not exactly one terminal state (handled, dead-lettered, expired) per root and group after a drain,
    or dead-lettered without cause.

    Judged in groups with `handle` or `dead-letter` events, for the records they got. A cause is:
    the contract's maximum of attempts (without one, any handling that did not succeed), a `reject`,
    an unretriable error, or the record's expiry. One anomaly for each root and group. Evidence:
    roots that a group got.
    """
    wrong: list[tuple[Course, str]] = []
    deliveries = _deliveries(terms)
    open_ = 0
    for course in terms.courses.notable:
        ends = _ends(terms, course)
        is_drained = course.group in terms.drained_groups and course.delivered < terms.drained_at
        if len(ends) > 1:
            wrong.append((course, f"was both {' and '.join(ends)}"))
        elif not ends and is_drained:
            wrong.append((course, "was delivered, and was neither handled nor dead-lettered nor expired"))
        elif course.dead and not _has_cause(terms, contract, course, deliveries):
            tried = len(course.handles)
            wrong.append((course, f"was dead-lettered without cause, after {tried} attempts"))
        open_ += not ends and not is_drained
    undecided = f"{open_} records were still under way, and no complete drain follows" if open_ else ""

    def show(number: int) -> Example:
        return _show(terms, *wrong[number])

    return finding(len(wrong), range(len(wrong)), show, terms.courses.count, undecided)


def _ends(terms: Terms, course: Course) -> list[str]:
    is_handled = any(terms.history.handles.outcome[row] == OK for row in course.handles)
    ends = (("handled", is_handled), ("dead-lettered", course.dead), ("expired", course.expired))
    return [name for name, is_so in ends if is_so]


def _has_cause(terms: Terms, contract: Contract, course: Course, deliveries: _Deliveries) -> bool:
    return all(_is_caused(terms, contract, course, note, deliveries) for note in course.dead)


def _is_caused(
    terms: Terms, contract: Contract, course: Course, note: Event, deliveries: _Deliveries
) -> bool:
    handles = terms.history.handles
    # An ok handling that came before is an end of its own, and no cause.
    failed = [
        row for row in course.handles if handles.invoked[row] < note.index and handles.outcome[row] != OK
    ]
    if any(index < note.index for index in course.refused) or course.expired or _expired(terms, course, note):
        return True
    errors = {terms.history.names.errors[e] for e in handles.error[failed].tolist() if e >= 0}
    if errors & contract.unretriable:
        return True
    highest = max((int(handles.attempt[row]) for row in failed), default=0)
    tried = max(len(failed), highest)
    if not course.handles:  # the broker buried it: only deliveries can be counted
        known = deliveries.get((course.group, course.id), ())
        tried = sum(index < note.index for index in known)
    return tried >= (contract.max_attempts or 1)


def _deliveries(terms: Terms) -> _Deliveries:
    """When each record that was dead-lettered without a handling was delivered, by group and id."""
    records = terms.history.records
    untried = [course for course in terms.courses.notable if course.dead and not course.handles]
    rows = np.flatnonzero(np.isin(records.id, np.array([course.id for course in untried], np.int64)))
    deliveries: _Deliveries = {}
    done = terms.history.polls.completed[records.poll[rows]]
    for row, index in zip(rows.tolist(), done.tolist(), strict=True):
        name = int(terms.record_group[row]), int(records.id[row])
        deliveries.setdefault(name, []).append(index)
    return deliveries


def _expired(terms: Terms, course: Course, note: Event) -> bool:
    row = int(terms.send_of(np.array([course.id]))[0])
    expires = terms.expires[row] if row >= 0 else ABSENT
    return bool(expires != ABSENT and expires <= note.time)


def _show(terms: Terms, course: Course, text: str) -> Example:
    history = terms.history
    last = course.handles[-1:]
    events = [int(history.handles.completed[row]) for row in last] + [
        int(history.handles.invoked[row]) for row in last
    ]
    events += [note.index for note in (*course.dead[:1], *course.expired[:1])]
    if not events:
        events.append(course.delivered)
    if "neither" in text:
        events.append(terms.drained_at)
    return example(*events, text=f"{_name(terms, course)} {text}")


def _name(terms: Terms, course: Course) -> str:
    history = terms.history
    group = terms.groups[course.group]
    if course.dead or course.expired:
        id_ = (course.dead or course.expired)[0].id
    elif course.handles:
        id_ = history.event(int(history.handles.invoked[course.handles[0]]))["id"]
    else:
        row = int(np.flatnonzero(history.records.id == course.id)[0])
        poll = history.event(int(history.polls.completed[history.records.poll[row]]))
        id_ = poll["records"][int(history.records.ordinal[row])][3]
    return f"group {group}: {id_!r}"
