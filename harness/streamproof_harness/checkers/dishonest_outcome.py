"""dishonest-outcome: a client was told something that is not so."""

from collections import defaultdict

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import FAIL, OK, OP, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A failed send is polled; a call completes twice; a call is still open after flush or close.

    Calls that a process invoked before its `flush` (sends) or `close` (any call) must have completed
    when that returns ok; those from before a `crash` are nobody's any more. One anomaly for each
    call. Evidence: calls.
    """
    history = terms.history
    calls = history.calls
    polled = np.flatnonzero((history.sends.outcome == FAIL) & terms.is_polled)
    left_open = _left_open(terms)
    words = Words(terms)
    cases: list[tuple[str, int]] = [("polled", row) for row in polled.tolist()]
    cases += [("twice", number) for number in range(len(calls.again))]
    cases += [("open", row) for row in left_open]

    def show(number: int) -> Example:
        case, row = cases[number]
        if case == "polled":
            return _show_polled(terms, words, row)
        if case == "twice":
            call = int(calls.again_of[row])
            events = int(calls.invoked[call]), int(calls.completed[call]), int(calls.again[row])
            process = history.names.processes[int(calls.process[call])]
            return example(*events, text=f"a {_op(terms, call)} of {process} completes twice")
        end = left_open[row]
        process = history.names.processes[int(calls.process[row])]
        text = f"a {_op(terms, row)} of {process} is still open after its {_op(terms, end)} returned ok"
        events = int(calls.invoked[row]), int(calls.invoked[end]), int(calls.completed[end])
        return example(*events, text=text)

    return finding(len(cases), range(len(cases)), show, evidence=len(calls.op))


def _op(terms: Terms, call: int) -> str:
    return next(op for op, number in OP.items() if number == terms.history.calls.op[call])


def _show_polled(terms: Terms, words: Words, row: int) -> Example:
    history = terms.history
    record = int(np.flatnonzero(terms.record_send == row)[0])
    poll = int(history.records.poll[record])
    text = (
        f"the send of {words.send(row)} was reported as certainly failed, and "
        f"{words.poll_process(poll)} polled it from {words.record_place(record)}"
    )
    return example(int(history.sends.completed[row]), int(history.polls.completed[poll]), text=text)


def _left_open(terms: Terms) -> dict[int, int]:
    """Calls that were open when a flush or close of their process returned ok, and that call."""
    calls = terms.history.calls
    ending = np.flatnonzero(((calls.op == OP["flush"]) | (calls.op == OP["close"])) & (calls.outcome == OK))
    crashes: dict[int, list[int]] = defaultdict(list)
    for note in terms.history.notes_of.get("crash", ()):
        crashes[terms.processes[note.process]].append(note.index)
    found: dict[int, int] = {}
    order = np.argsort(calls.process, kind="stable")
    cuts = np.searchsorted(calls.process[order], np.arange(len(terms.processes) + 1))
    for process in np.unique(calls.process[ending]).tolist():
        own = order[cuts[process] : cuts[process + 1]]
        for op, judged in (("flush", own[calls.op[own] == OP["send"]]), ("close", own)):
            ends = ending[(calls.process[ending] == process) & (calls.op[ending] == OP[op])]
            _add_open(terms, judged, ends, np.array(crashes[process], np.int64), found)
    return found


def _add_open(terms: Terms, judged: Ints, ends: Ints, crashes: Ints, found: dict[int, int]) -> None:
    """Linear: each call is looked at for the first end after its invocation only."""
    calls = terms.history.calls
    if not len(ends) or not len(judged):
        return
    following = np.searchsorted(calls.invoked[ends], calls.invoked[judged], side="right")
    judged, following = judged[following < len(ends)], following[following < len(ends)]
    end = ends[following]
    is_open = (calls.completed[judged] < 0) | (calls.completed[judged] > calls.completed[end])
    if len(crashes):
        # A crash between the call and the end: the end is another life's.
        before = np.searchsorted(crashes, calls.invoked[judged])
        is_open &= before == np.searchsorted(crashes, calls.completed[end])
    for row, at in zip(judged[is_open].tolist(), end[is_open].tolist(), strict=True):
        if row != at:
            found.setdefault(row, at)
