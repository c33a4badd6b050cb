"""duplicate-effect: what must happen once happened twice."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import ABSENT, OK, OP
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """One effect key applied twice within a group, by handlings that are ok.

    One anomaly for each key. Evidence: effects that were applied.
    """
    handles = terms.history.handles
    applied = (handles.op == OP["handle"]) & (handles.outcome == OK) & (handles.effect != ABSENT)
    at = np.flatnonzero(applied)
    order = at[np.lexsort((handles.completed[at], handles.effect[at], terms.handle_group[at]))]
    same = np.zeros(len(order), np.bool_)
    same[1:] = (handles.effect[order[1:]] == handles.effect[order[:-1]]) & (
        terms.handle_group[order[1:]] == terms.handle_group[order[:-1]]
    )
    # the second of each run: further ones are the same anomaly
    second = same & ~np.concatenate([[False], same[:-1]])
    words = Words(terms)

    def show(number: int) -> Example:
        one, other = int(order[number - 1]), int(order[number])
        key = terms.history.event(int(handles.completed[other]))["effect"]
        text = (
            f"{words.group(int(terms.handle_group[other]))} applied the effect {key!r} with "
            f"{words.handled(one)} and again with {words.handled(other)}"
        )
        return example(int(handles.completed[one]), int(handles.completed[other]), text=text)

    return found(np.flatnonzero(second), show, evidence=len(at))
