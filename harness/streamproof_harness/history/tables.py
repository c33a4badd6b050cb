"""The tables of a decoded history: sends, polls, their records, handled records, other calls.

All arrays of one table have the same length. ``invoked`` and ``completed`` hold event indexes
(-1: never completed); ``outcome`` is OK, FAIL, INFO or OPEN, of the first completion.
"""

from dataclasses import dataclass

import numpy as np

from streamproof_harness.history import Event
from streamproof_harness.history.codes import ABSENT, Array, Ints


@dataclass(frozen=True, slots=True)
class Names:
    """What the interned integers stand for."""

    topics: tuple[str, ...]
    processes: tuple[str, ...]
    groups: tuple[str, ...]
    txns: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call of the history: its operation (`OP`), process, two events and outcome.

    `again` holds the event indexes of completions after a call's first, and `again_of` the rows
    of their calls.
    """

    op: Array
    process: Array
    invoked: Ints
    completed: Ints
    outcome: Array
    again: Ints
    again_of: Ints


@dataclass(frozen=True, slots=True)
class Sparse:
    """An optional field: `values` at `rows` (rising), absent elsewhere."""

    rows: Ints
    values: Ints

    def dense(self, count: int, absent: int = ABSENT) -> Ints:
        column = np.full(count, absent, np.int64)
        column[self.rows] = self.values
        return column


@dataclass(frozen=True, slots=True)
class Sends:
    """One row a send. `partition` and `offset` as acknowledged (-1: not known); `chosen` by the caller.

    `derived` joins rows (`rows`) to the hashes of the ids they come from (`values`).
    """

    invoked: Ints
    completed: Ints
    outcome: Array
    process: Array
    topic: Array
    id: Ints
    key: Ints
    seq: Ints
    crc: Ints
    partition: Ints
    offset: Ints
    chosen: Sparse
    txn: Sparse
    due: Sparse
    not_before: Sparse
    expires: Sparse
    amount: Sparse
    derived: Sparse


@dataclass(frozen=True, slots=True)
class Polls:
    """One row a poll. `group` and `txn` are -1 where there is none."""

    invoked: Ints
    completed: Ints
    outcome: Array
    process: Array
    group: Array
    txn: Ints
    uncommitted: Array


@dataclass(frozen=True, slots=True)
class Records:
    """One row a polled record; `poll` is the row of its poll, `ordinal` its place there."""

    poll: Ints
    ordinal: Ints
    topic: Array
    partition: Ints
    offset: Ints
    id: Ints
    crc: Ints
    key: Ints


@dataclass(frozen=True, slots=True)
class Handles:
    """One row for each `handle`, `ack`, `nack` and `reject`; `op` says which."""

    op: Array
    invoked: Ints
    completed: Ints
    outcome: Array
    process: Array
    group: Array
    topic: Array
    partition: Ints
    offset: Ints
    id: Ints
    attempt: Ints
    to: Array
    delay: Ints
    effect: Ints
    amount: Ints
    error: Array


@dataclass(frozen=True, slots=True)
class RareCall:
    """A call of an operation that is not in columns, e.g. a commit. `done` is its first completion."""

    invoked: Event
    done: Event | None
    outcome: int

    @property
    def begun_at(self) -> int:
        return self.invoked.index

    def ended_at(self, never: int) -> int:
        """The index of the completion, or `never`."""
        return never if self.done is None else self.done.index
