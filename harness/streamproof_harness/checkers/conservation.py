"""conservation: what was handled does not add up to what was sent."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import ABSENT, OK, OP, Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """After a complete drain the sums of ``amount`` over handled and over sent roots differ.

    Judged for each group that handles, over the roots sent to topics that it handles. Each root
    counts once: as sent if it or a copy of it in its topic stands, with its ``amount``; as handled
    with the ``amount`` of its first ok handling, or its own. (That an effect was applied twice is
    `duplicate-effect`.) What the drain's ``oracle`` says is compared likewise. One anomaly for each
    group and each line of the oracle. Evidence: roots with an amount.
    """
    if not len(terms.history.sends.amount.rows) and not _oracle(terms):
        return Finding()
    sent_amount = _amounts(terms)
    groups = sorted(set(terms.handle_group[_handled(terms)].tolist()))
    if terms.drained_at < 0:
        return Finding(undecided="nothing was drained completely, so the sums cannot be compared")
    cases: list[Example] = []
    evidence = 0
    for group in groups:
        if group in terms.drained_groups:
            roots, case = _compare(terms, group, sent_amount)
            evidence = max(evidence, roots)
            cases += [] if case is None else [case]
    for line in _oracle(terms):
        if line.get("expected") != line.get("received"):
            text = (
                f"the workload's {line.get('name', 'oracle')} expected {line.get('expected')} "
                f"and received {line.get('received')}"
            )
            cases.append(example(terms.drained_at, text=text))
    evidence = max(evidence, len(_oracle(terms)))
    return finding(len(cases), range(len(cases)), lambda number: cases[number], evidence)


def _oracle(terms: Terms) -> list[dict[str, object]]:
    notes = [note for note in terms.history.notes_of.get("drained", ()) if isinstance(note.oracle, list)]
    return [line for note in notes[-1:] for line in note.oracle if isinstance(line, dict)]


def _handled(terms: Terms) -> Ints:
    handles = terms.history.handles
    return np.flatnonzero((handles.op == OP["handle"]) & (handles.outcome == OK))


def _amounts(terms: Terms) -> Ints:
    """The amount of each send, or of its root where it has none of its own."""
    sends = terms.history.sends
    own = sends.amount.dense(len(sends.id))
    return np.where(own == ABSENT, own[terms.roots], own)


def _compare(terms: Terms, group: int, amount: Ints) -> tuple[int, Example | None]:
    handles, sends = terms.history.handles, terms.history.sends
    at = _handled(terms)
    at = at[terms.handle_group[at] == group]
    send = terms.send_of(handles.id[at])
    topics = np.unique(handles.topic[at])
    at, send = at[send >= 0], send[send >= 0]
    root = terms.roots[send]
    ours = np.isin(sends.topic[root], topics)
    at, root = at[ours], root[ours]
    by_end = np.argsort(handles.completed[at], kind="stable")
    handled, first = np.unique(root[by_end], return_index=True)
    at = at[by_end][first]
    own = handles.amount[at]
    gained = np.where(own == ABSENT, amount[handled], own)
    is_handled = np.zeros(len(sends.id), np.bool_)
    is_handled[handled] = True
    owed = _owed(terms, group, topics, is_handled)
    owed = owed[amount[owed] != ABSENT]
    # Python's integers: sums of amounts may exceed 64 bits.
    expected = sum(amount[owed].tolist())
    received = sum(gained[gained != ABSENT].tolist())
    if expected == received:
        return len(owed), None
    words = Words(terms)
    text = f"{words.group(group)} handled {received} of {expected} in all"
    events = [terms.drained_at]
    missing = owed[~is_handled[owed]]
    changed = np.flatnonzero(gained != amount[handled])
    if len(missing):
        events.append(int(sends.invoked[missing[0]]))
        text += f": {words.send(int(missing[0]))} was never handled"
    elif len(changed):
        row = int(changed[0])
        events += [int(handles.completed[at[row]]), int(sends.invoked[handled[row]])]
        text += f": {words.send(int(handled[row]))} was handled with another amount than it was sent with"
    return len(owed), example(*events, text=text)


def _owed(terms: Terms, group: int, topics: Ints, is_handled: Array) -> Ints:
    """The roots that the group had to handle: sent to its topics, within its range or handled."""
    sends = terms.history.sends
    stands = np.flatnonzero(terms.is_effective & np.isin(sends.topic, topics))
    stands = stands[sends.topic[terms.roots[stands]] == sends.topic[stands]]
    inside = terms.ranges_of({group}).holds(terms.home[stands], sends.offset[stands])
    inside &= sends.completed[stands] < terms.drained_at
    return np.unique(terms.roots[stands[inside | is_handled[terms.roots[stands]]]])
