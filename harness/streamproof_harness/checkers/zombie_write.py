"""zombie-write: a producer that another one has replaced still wrote."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import FAIL, OK
from streamproof_harness.history.tables import RareCall
from streamproof_harness.terms import Terms
from streamproof_harness.terms.transactions import NEVER
from streamproof_harness.verdict import Example, Finding


@dataclass(frozen=True, slots=True)
class _Write:
    """A send, a commit of offsets, or the commit of a transaction. `row`: of sends; -1 for the others."""

    process: int
    txn: int
    invoked: int
    completed: int
    is_ok: bool
    row: int = -1
    op: str = "send"


@dataclass(slots=True)
class _Inits:
    """The `init` calls of one transactional id. `done`: the process and completion of those that are
    ok, with their invocation; `own`: by process, invocation and completion of those not failed."""

    done: list[tuple[int, int, int]] = field(default_factory=list)
    own: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def fence(self, write: _Write) -> int | None:
        """The completion of the `init` that had fenced the writer when it began to write, if any."""
        mine = self.own.get(write.process, [])
        at = bisect_left(mine, (write.invoked, 0))
        since = mine[at - 1][1] if at else -1
        for at in reversed(range(bisect_left(self.done, (write.invoked, 0, 0)))):
            completed, invoked, process = self.done[at]
            if completed < since:
                break
            if process != write.process and invoked > since:
                return completed
        return None


def judge(terms: Terms, contract: Contract) -> Finding:
    """A send or commit invoked after another process' `init` of the same transactional id was ok, and
    ok itself, unless the writer has initialised again since.

    Judged are sends, `commit` calls and ends that commit, of transactions whose `begin` or `end` names
    the transactional id; an `end` only if there was something to commit. One anomaly for each such
    operation. Evidence: those that a process invoked that had been replaced, whatever became of them.
    """
    inits = _contested(terms)
    tried = [
        (write, fence)
        for write in _writes(terms, set(inits))
        if (fence := inits[int(terms.transactions.producer[write.txn])].fence(write)) is not None
    ]
    zombies = [(write, fence) for write, fence in tried if write.is_ok]
    words = Words(terms)

    def show(number: int) -> Example:
        return _show(terms, words, *zombies[number])

    return finding(len(zombies), range(len(zombies)), show, evidence=len(tried))


def _contested(terms: Terms) -> dict[int, _Inits]:
    """The transactional ids that more than one process initialised or wrote with."""
    txns = terms.transactions
    numbers = {name: number for number, name in enumerate(txns.producers)}
    inits: dict[int, _Inits] = defaultdict(_Inits)
    for call in terms.history.calls_of.get("init", ()):
        if call.outcome == FAIL:
            continue
        own = inits[numbers[str(call.invoked.transactional_id)]]
        process = terms.processes[call.invoked.process]
        # One whose outcome is unknown may have come after any other: it clears its process.
        ended = call.ended_at(NEVER) if call.outcome == OK else NEVER
        own.own[process].append((call.begun_at, ended))
        if call.outcome == OK:
            own.done.append((ended, call.begun_at, process))
    for one in inits.values():
        one.done.sort()
    writers: dict[int, set[int]] = defaultdict(set)
    for producer, process in zip(txns.producer.tolist(), txns.process.tolist(), strict=True):
        writers[producer].add(process)
    return {
        producer: one
        for producer, one in inits.items()
        if len(one.own.keys() | (writers[producer] - {-1})) > 1
    }


def _writes(terms: Terms, producers: set[int]) -> Iterator[_Write]:
    """The writes of these transactional ids."""
    txns, sends = terms.transactions, terms.history.sends
    judged = np.isin(txns.producer, list(producers))
    is_written = np.zeros(len(txns.names), np.bool_)
    for at in np.flatnonzero(judged[sends.txn.values]).tolist():
        row, txn = int(sends.txn.rows[at]), int(sends.txn.values[at])
        is_ok = sends.outcome[row] == OK
        is_written[txn] |= is_ok
        yield _Write(
            int(sends.process[row]), txn, int(sends.invoked[row]), int(sends.completed[row]), bool(is_ok), row
        )
    for op in ("commit", "end"):
        for call in terms.history.calls_of.get(op, ()):
            txn = terms.txn_numbers.get(str(call.invoked.txn), -1)
            if txn < 0 or not judged[txn]:
                continue
            is_written[txn] |= op == "commit" and call.outcome == OK
            if op == "commit" or (call.invoked.commit and is_written[txn]):
                yield _write_of(terms, call, txn)


def _write_of(terms: Terms, call: RareCall, txn: int) -> _Write:
    process = terms.processes[call.invoked.process]
    is_ok = call.outcome == OK
    return _Write(process, txn, call.begun_at, call.ended_at(-1), is_ok, op=call.invoked.op)


def _show(terms: Terms, words: Words, write: _Write, fence: int) -> Example:
    names = terms.history.names.processes
    what = {
        "send": lambda: f"sent {words.send(write.row)} in {words.txn(write.txn)}",
        "commit": lambda: f"committed offsets in {words.txn(write.txn)}",
        "end": lambda: f"committed {words.txn(write.txn)}",
    }[write.op]()
    producer = terms.transactions.producers[int(terms.transactions.producer[write.txn])]
    other = names[int(terms.history.process[fence])]
    text = (
        f"{names[write.process]} {what} and was told that it succeeded, though {other} had initialised "
        f"{producer!r} before"
    )
    return example(fence, write.invoked, write.completed, text=text)
