"""dual-ownership: two members read one log at the same time, as far as the group's generations tell."""

from itertools import pairwise

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history import Event
from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.generations import NO_LINEAGE, Generations
from streamproof_harness.terms.order import stable_order
from streamproof_harness.verdict import Example, Finding

_Owner = tuple[int, int, int]
"""A process, a poll of it (row), and its `assign` (number)."""


def judge(terms: Terms, contract: Contract) -> Finding:
    """Two processes polled one log in one generation of one group.

    A poll is of the generation of its process' last `assign`; one that another `assign` came in the
    course of, or whose log was not held all the time, is of none. One anomaly for each log and
    generation of a group. Evidence: logs by `assign` that were polled.
    """
    assigns = list(terms.history.notes_of.get("assign", ()))
    generations = Generations()
    told = [(terms.group_of(note), *generations.of(note.generation)) for note in assigns]
    owners: dict[tuple[int, ...], _Owner] = {}
    twice: dict[tuple[int, ...], tuple[_Owner, _Owner]] = {}
    count = 0
    for assign, log, poll in _polled_by_assignment(terms, assigns):
        group, lineage, generation = told[assign]
        if lineage == NO_LINEAGE or group != terms.poll_group[poll]:
            continue
        count += 1
        name = group, log, lineage, generation
        here = int(terms.history.polls.process[poll]), poll, assign
        first = owners.setdefault(name, here)
        if first[0] != here[0]:
            twice.setdefault(name, (first, here))
    cases = list(twice.items())
    words = Words(terms)

    def show(number: int) -> Example:
        (group, log, *_), (one, other) = cases[number]
        names = terms.history.names.processes
        text = (
            f"{words.group(group)}: both {names[one[0]]} and {names[other[0]]} polled {terms.logs.name(log)} "
            f"in generation {assigns[other[2]].generation}"
        )
        polls = (int(terms.history.polls.completed[owner[1]]) for owner in (one, other))
        return example(*polls, assigns[one[2]].index, assigns[other[2]].index, text=text)

    return finding(len(cases), range(len(cases)), show, evidence=count)


def _polled_by_assignment(terms: Terms, assigns: list[Event]) -> list[tuple[int, int, int]]:
    """Each `assign` (number) and log polled under it, with the first such poll."""
    records, polls = terms.history.records, terms.history.polls
    poll, log = records.poll, terms.record_log
    fresh = np.ones(len(poll), np.bool_)  # one question for each run of records of one poll and log
    fresh[1:] = (poll[1:] != poll[:-1]) | (log[1:] != log[:-1])
    poll, log = poll[fresh], log[fresh]
    assign = _assign_of_polls(terms, assigns)[poll]
    poll, log, assign = poll[assign >= 0], log[assign >= 0], assign[assign >= 0]
    is_held = np.ones(len(poll), np.bool_)
    for at in (polls.invoked[poll], polls.completed[poll]):
        is_held &= terms.assignments.held(polls.process[poll], log, at, at)
    poll, log, assign = poll[is_held], log[is_held], assign[is_held]
    lane = assign * np.int64(terms.logs.count) + log
    order = stable_order(lane)
    first = order[np.flatnonzero(np.diff(lane[order], prepend=-1))]
    first = np.sort(first)
    return list(zip(assign[first].tolist(), log[first].tolist(), poll[first].tolist(), strict=True))


def _assign_of_polls(terms: Terms, assigns: list[Event]) -> Ints:
    """The number of the `assign` that each poll was wholly under, -1: none."""
    polls = terms.history.polls
    result = np.full(len(polls.process), -1, np.int64)
    number = np.array([terms.processes[note.process] for note in assigns], np.int64)
    index = np.array([note.index for note in assigns], np.int64)
    order = stable_order(number)
    by_process: Array = stable_order(polls.process)
    cuts = np.searchsorted(polls.process[by_process], np.arange(len(terms.processes) + 1))
    for start, stop in pairwise(np.flatnonzero(np.diff(number[order], prepend=-1, append=-1)).tolist()):
        own = order[start:stop]
        process = int(number[own[0]])
        rows = by_process[cuts[process] : cuts[process + 1]]
        at = np.searchsorted(index[own], polls.invoked[rows]) - 1
        is_whole = at == np.searchsorted(index[own], polls.completed[rows]) - 1
        result[rows] = np.where(is_whole & (at >= 0), own[np.maximum(at, 0)], -1)
    return result
