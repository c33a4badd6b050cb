"""attempts-wrong: a record was tried too often, too seldom, or its attempts were counted wrongly."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import OK
from streamproof_harness.terms import Terms
from streamproof_harness.terms.attempts import Course
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """The handlings of a root differ from min(first success, maximum attempts), or are not counted 1, 2, 3 …

    An excuse before a handling (the end of a session other than by a nack, a fault that was on)
    explains that handling: it may be one too many, and counting may begin anew. Too few are wrong
    once the record is dead-lettered, not refused and not failed by an unretriable error, or after a
    complete drain. The maximum is the contract's ``max_attempts``; without it only the counting and
    handlings after a success are judged. One anomaly for each root and group. Evidence: roots that
    were handled, in each group.
    """
    courses = [course for course in terms.courses.notable if course.handles]
    wrong: list[tuple[Course, str, list[int]]] = []
    for course, excused in zip(courses, _excused(terms, courses), strict=True) if courses else ():
        complaint = _complaint(terms, contract, course, excused)
        if complaint is not None:
            wrong.append((course, *complaint))
    words = Words(terms)
    handles = terms.history.handles

    def show(number: int) -> Example:
        course, text, rows = wrong[number]
        id_ = words.handled(course.handles[0])
        events = [int(handles.invoked[row]) for row in rows] + [note.index for note in course.dead[:1]]
        return example(*events, text=f"{words.group(course.group)}: {id_} {text}")

    tried = len(courses) + sum(terms.courses.plain.values())
    return finding(len(wrong), range(len(wrong)), show, evidence=tried)


def _complaint(
    terms: Terms, contract: Contract, course: Course, excused: list[bool]
) -> tuple[str, list[int]] | None:
    rows = course.handles
    handles = terms.history.handles
    most = contract.max_attempts
    numbers = [int(handles.attempt[row]) for row in rows]
    if numbers[0] != 1 and not excused[0]:
        return f"was first handled as attempt {numbers[0]}", rows[:1]
    for at in range(1, len(rows)):
        if excused[at]:
            continue
        pair = rows[at - 1 : at + 1]
        if handles.outcome[rows[at - 1]] == OK:
            return "was handled again after it had succeeded", pair
        if numbers[at] != numbers[at - 1] + 1:
            return f"was handled as attempt {numbers[at]} right after attempt {numbers[at - 1]}", pair
    if most is None:
        return None
    spare = sum(excused)
    if len(rows) > most + spare or max(numbers) > most + spare:
        return f"was handled {len(rows)} times, as attempt {max(numbers)} last; {most} are allowed", rows
    return _too_few(terms, contract, course, most)


def _too_few(terms: Terms, contract: Contract, course: Course, most: int) -> tuple[str, list[int]] | None:
    handles, rows = terms.history.handles, course.handles
    outcomes = [int(handles.outcome[row]) for row in rows]
    highest = max(int(handles.attempt[row]) for row in rows)
    if OK in outcomes or course.refused or course.expired or max(len(rows), highest) >= most:
        return None
    error = int(handles.error[rows[-1]])
    if error >= 0 and terms.history.names.errors[error] in contract.unretriable:
        return None
    if course.dead:
        return f"was dead-lettered after {len(rows)} of {most} attempts", rows
    is_drained = course.group in terms.drained_groups and handles.invoked[rows[-1]] < terms.drained_at
    if is_drained:
        return f"never succeeded and was given up after {len(rows)} of {most} attempts", rows
    return None


def _excused(terms: Terms, courses: list[Course]) -> list[list[bool]]:
    """For each handling, whether an excuse lies between it and the one before (or the beginning)."""
    handles = terms.history.handles
    rows = np.array([row for course in courses for row in course.handles], np.int64)
    counts = np.array([len(course.handles) for course in courses], np.int64)
    group = np.repeat(np.array([course.group for course in courses], np.int64), counts)
    starts = np.cumsum(counts) - counts
    until, log = handles.invoked[rows], terms.handle_log[rows]
    since, before = np.roll(until, 1), np.roll(log, 1)
    since[starts], before[starts] = -1, log[starts]
    excuses = terms.excuses_but_nacks
    either = excuses.between(group, log, since, until) | excuses.between(group, before, since, until)
    return [part.tolist() for part in np.split(either, starts[1:])]
