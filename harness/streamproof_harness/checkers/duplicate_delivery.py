"""duplicate-delivery: a group got a record twice, and nothing explains it."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """One id polled twice in one group with no excuse in between.

    One anomaly for each repeated delivery, compared with the one before. Evidence: deliveries.
    """
    history = terms.history
    rows = np.flatnonzero(terms.counts & ~terms.is_moved)
    first, again = repeated(terms, rows)
    poll_of = history.records.poll
    since, until = history.polls.invoked[poll_of[first]], history.polls.completed[poll_of[again]]
    group = terms.record_group[again]
    excused = terms.excuses.between(group, terms.record_log[first], since, until)
    excused |= terms.excuses.between(group, terms.record_log[again], since, until)
    unexcused = np.flatnonzero(~excused)
    words = Words(terms)

    def show(number: int) -> Example:
        one, other = int(first[number]), int(again[number])
        polls = int(poll_of[one]), int(poll_of[other])
        text = (
            f"{words.group(int(group[number]))} got {words.record(other)} from {words.record_place(one)} at "
            f"{words.poll_process(polls[0])} and from {words.record_place(other)} at "
            f"{words.poll_process(polls[1])}, and nothing in between explains it"
        )
        return example(*(int(history.polls.completed[poll]) for poll in polls), text=text)

    return found(unexcused, show, evidence=len(rows))


def repeated(terms: Terms, rows: Ints) -> tuple[Ints, Ints]:
    """Pairs of records among `rows` with one id and group: a delivery and the next one, as they came.

    The second of each pair rises. Linear where each record was sent: deliveries are counted in a
    table of groups and sends.
    """
    records = terms.history.records
    send, group = terms.record_send[rows], terms.record_group[rows]
    is_used = np.bincount(group, minlength=len(terms.groups)) > 0
    lane_of = np.cumsum(is_used) - 1
    count = len(terms.history.sends.id)
    suspects = rows
    if np.count_nonzero(is_used) * count <= 4 * len(rows) + (1 << 20):
        cell = lane_of[group] * count + send
        times = np.bincount(cell[send >= 0], minlength=1)
        several = send < 0
        several[~several] = times[cell[~several]] > 1
        suspects = rows[several]
    order = np.lexsort((suspects, records.id[suspects], terms.record_group[suspects]))
    ranked = suspects[order]
    same = (records.id[ranked[1:]] == records.id[ranked[:-1]]) & (
        terms.record_group[ranked[1:]] == terms.record_group[ranked[:-1]]
    )
    first, again = ranked[:-1][same], ranked[1:][same]
    by_time = np.argsort(again, kind="stable")
    return first[by_time], again[by_time]
