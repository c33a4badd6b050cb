"""Transactions: how each ended, when, and whom it concerns.

*Committed* if an `end` with ``commit: true`` is ok; *aborted* if an `end` with ``commit: false`` is
ok or the commit certainly failed; else *unknown*, and *proven* committed once a read-committed
poll returned one of its records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamproof_harness.history.codes import FAIL, OK, Array, Ints
from streamproof_harness.history.tables import RareCall

UNKNOWN, PROVEN, COMMITTED, ABORTED = range(4)
NAMES: Final = ("unknown", "proven", "committed", "aborted")

NEVER: Final = 2**62
"""An event index after all others: what has not happened."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """One row a transaction. Times are event indexes, NEVER where a thing did not happen.

    `state`: as it is known in the end. `producer`: the number of its transactional id, and
    `process`: who began it (-1: no `begin` tells). `begun_at`: invocation of its `begin` (-1: none).
    `commit_at`: the first invocation of an `end` that commits. `over_at`: the first invocation of
    any `end`; without one, of the next `begin` or `init` of its transactional id. `decided_at`:
    completion of the `end` that told the state. `last_end_at`: the last completion of an `end`.
    `stands_from`: since when it is certain that it stands: its `end` was ok, or the first
    read-committed poll had returned a record of it. `consumers`: the processes that its `begin` named.
    """

    names: tuple[str, ...]
    producers: tuple[str, ...]
    state: Array
    producer: Ints
    process: Ints
    begun_at: Ints
    commit_at: Ints
    over_at: Ints
    decided_at: Ints
    last_end_at: Ints
    stands_from: Ints
    consumers: tuple[tuple[int, ...], ...]

    @property
    def stands(self) -> Array:
        """Which of them stand: committed or proven."""
        return stands(self.state)


def declared_states(count: int, numbers: dict[str, int], ends: Sequence[RareCall]) -> Array:
    """The state of each transaction as its `end` calls tell it, before any is proven."""
    states = np.full(count, UNKNOWN, np.uint8)
    for end in ends:
        number = numbers[str(end.invoked.txn)]
        if end.outcome == OK:
            # A commit that is ok outweighs everything; an abort never turns it back.
            if end.invoked.commit:
                states[number] = COMMITTED
            elif states[number] != COMMITTED:
                states[number] = ABORTED
        elif end.outcome == FAIL and end.invoked.commit and states[number] == UNKNOWN:
            states[number] = ABORTED
    return states


def prove(states: Array, read_committed: Ints) -> Array:
    """Turn unknown transactions, of which a read-committed poll returned a record, to PROVEN."""
    is_seen = np.zeros(len(states), np.bool_)
    is_seen[read_committed] = True
    return np.where(is_seen & (states == UNKNOWN), np.uint8(PROVEN), states)


def stands(states: Array) -> Array:
    """Whether the records of each transaction count."""
    standing: Array = (states == COMMITTED) | (states == PROVEN)
    return standing


def transactions_of(
    numbers: dict[str, int],
    states: Array,
    calls_of: dict[str, list[RareCall]],
    processes: dict[str, int],
    first_seen: Ints,
) -> Transactions:
    """The table of all transactions. `first_seen`: the first read-committed poll's completion, by row."""
    count = len(numbers)
    begins, ends, inits = (calls_of.get(op, []) for op in ("begin", "end", "init"))
    producers: dict[str, int] = {}
    for call in (*begins, *ends, *inits):
        producers.setdefault(str(call.invoked.transactional_id), len(producers))
    producer, process, begun_at = (np.full(count, -1, np.int64) for _ in range(3))
    consumers: list[tuple[int, ...]] = [()] * count
    for call in begins:
        number = numbers[str(call.invoked.txn)]
        producer[number] = producers[str(call.invoked.transactional_id)]
        process[number] = processes[call.invoked.process]
        begun_at[number] = call.begun_at
        named = call.invoked.consumers or ()
        consumers[number] = tuple(dict.fromkeys(processes[name] for name in named if name in processes))
    commit_at, over_at, decided_at = (np.full(count, NEVER, np.int64) for _ in range(3))
    last_end_at = np.full(count, NEVER, np.int64)
    for end in ends:
        number = numbers[str(end.invoked.txn)]
        producer[number] = producers[str(end.invoked.transactional_id)]
        over_at[number] = min(over_at[number], end.begun_at)
        if end.invoked.commit:
            commit_at[number] = min(commit_at[number], end.begun_at)
        if end.done is not None:
            last_end_at[number] = end.done.index
            if _tells(end, int(states[number])):
                decided_at[number] = min(decided_at[number], end.done.index)
    for number, index in _continuations(numbers, begins, inits):
        if over_at[number] == NEVER:
            over_at[number] = index
    stands_from = np.where(states == COMMITTED, decided_at, NEVER)
    stands_from = np.where(states == PROVEN, first_seen, stands_from)
    return Transactions(
        names=tuple(numbers),
        producers=tuple(producers),
        state=states,
        producer=producer,
        process=process,
        begun_at=begun_at,
        commit_at=commit_at,
        over_at=over_at,
        decided_at=decided_at,
        last_end_at=last_end_at,
        stands_from=stands_from,
        consumers=tuple(consumers),
    )


def _tells(end: RareCall, state: int) -> bool:
    """Whether this `end` says what has become the state of its transaction."""
    if state == COMMITTED:
        return end.outcome == OK and bool(end.invoked.commit)
    return (end.outcome == FAIL) if end.invoked.commit else end.outcome == OK


def _continuations(
    numbers: dict[str, int], begins: Sequence[RareCall], inits: Sequence[RareCall]
) -> Iterable[tuple[int, int]]:
    """For each transaction the next `begin` or `init` of its transactional id, where there is one."""
    following: dict[str, int] = {}
    for call in sorted([*begins, *inits], key=lambda call: -call.begun_at):
        producer = str(call.invoked.transactional_id)
        if call.invoked.op == "begin" and producer in following:
            yield numbers[str(call.invoked.txn)], following[producer]
        following[producer] = call.begun_at
