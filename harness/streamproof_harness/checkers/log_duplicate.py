"""log-duplicate: one record stands in a topic twice."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding

_Seen = tuple[int, int, int, int]
"""Log, offset, index of the event that says so, and the row of the polled record (-1: the ack)."""


def judge(terms: Terms, contract: Contract) -> Finding:
    """One id at two offsets of a topic, among effective sends and polls. One anomaly for each id.

    Evidence: polled records whose offset is known.
    """
    records = terms.history.records
    polled = np.flatnonzero(terms.counts & (terms.record_place >= 0))
    send = terms.record_send[polled]
    elsewhere = send < 0
    sent = np.flatnonzero(~elsewhere)
    elsewhere[sent] = terms.send_place[send[sent]] != terms.record_place[polled[sent]]
    # The few that are not where their send stands, or have none, are looked at one by one.
    first: dict[tuple[int, int], _Seen] = {}
    twice: dict[tuple[int, int], tuple[_Seen, _Seen]] = {}
    for row in polled[elsewhere].tolist():
        name = int(records.id[row]), int(records.topic[row])
        here = _seen_by(terms, row)
        if name not in first:
            stands = _stand(terms, int(terms.record_send[row]), name[1])
            first[name] = here if stands is None else stands
        if first[name][:2] != here[:2]:
            twice.setdefault(name, (first[name], here))
    words = Words(terms)
    pairs = list(twice.values())

    def show(number: int) -> Example:
        one, other = pairs[number]
        id_ = words.record(other[3])
        text = f"{id_} stands at {words.place(*one[:2])} and again at {words.place(*other[:2])}"
        return example(one[2], other[2], text=text)

    return finding(len(pairs), range(len(pairs)), show, evidence=len(polled))


def _seen_by(terms: Terms, row: int) -> _Seen:
    records = terms.history.records
    done = int(terms.history.polls.completed[records.poll[row]])
    return int(terms.record_log[row]), int(records.offset[row]), done, row


def _stand(terms: Terms, send: int, topic: int) -> _Seen | None:
    """Where a send stands, if that is known and in this topic."""
    if send < 0 or terms.send_place[send] < 0:
        return None
    sends = terms.history.sends
    if terms.ack_place[send] < 0:
        seen = _seen_by(terms, int(terms.first_poll[send]))
        return seen if terms.history.records.topic[seen[3]] == topic else None
    if sends.topic[send] != topic:
        return None
    return int(terms.send_log[send]), int(sends.offset[send]), int(sends.completed[send]), -1
