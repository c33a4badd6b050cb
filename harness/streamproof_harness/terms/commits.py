"""Commits, one row for each log that a `commit` names."""

from dataclasses import dataclass

import numpy as np

from streamproof_harness.history.codes import Array, Ints
from streamproof_harness.history.tables import RareCall
from streamproof_harness.terms.positions import Logs


@dataclass(frozen=True, slots=True)
class Commits:
    """`offset` is the next one to read. `call`: which of the history's commit calls a row is of."""

    call: Ints
    invoked: Ints
    completed: Ints
    outcome: Array
    process: Ints
    group: Ints
    log: Ints
    offset: Ints


def commits_of(
    calls: list[RareCall], logs: Logs, processes: dict[str, int], groups: dict[str, int]
) -> Commits:
    """All commits, by invocation."""
    rows = [
        (
            number,
            call.begun_at,
            call.ended_at(-1),
            call.outcome,
            processes[call.invoked.process],
            groups[str(call.invoked.group)],
            logs.find(place.topic, place.partition),
            place.offset,
        )
        for number, call in enumerate(calls)
        for place in call.invoked.offsets or []
    ]
    columns = np.array(rows, np.int64).reshape(-1, 8).T
    return Commits(*columns)
