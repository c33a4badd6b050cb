"""inconsistent-offset: one offset of a log holds two records."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """One offset of a log seen with two ids, among effective sends and polls.

    One anomaly for each offset. Evidence: sends and polled records whose offset is known.
    """
    sends, records = terms.history.sends, terms.history.records
    acked = np.flatnonzero(terms.is_effective & (terms.ack_place >= 0))
    polled = np.flatnonzero(terms.counts & (terms.record_place >= 0))
    id_at = np.zeros(terms.places.count, np.int64)
    # In this order the first poll of a place is written last but for an acknowledgement.
    id_at[terms.record_place[polled[::-1]]] = records.id[polled[::-1]]
    id_at[terms.ack_place[acked[::-1]]] = sends.id[acked[::-1]]
    other_sends = acked[id_at[terms.ack_place[acked]] != sends.id[acked]]
    other_polls = polled[id_at[terms.record_place[polled]] != records.id[polled]]
    places = np.unique(np.concatenate([terms.ack_place[other_sends], terms.record_place[other_polls]]))
    words = Words(terms)

    def show(place: int) -> Example:
        claims = [
            (int(sends.completed[row]), words.send(row), words.send_place(row))
            for row in acked[terms.ack_place[acked] == place][:5].tolist()
        ] + [
            (
                int(terms.history.polls.completed[records.poll[row]]),
                words.record(row),
                words.record_place(row),
            )
            for row in polled[terms.record_place[polled] == place][:20].tolist()
        ]
        one = claims[0]
        other = next((claim for claim in claims if claim[1] != one[1]), one)
        return example(one[0], other[0], text=f"{one[2]} is {one[1]} and also {other[1]}")

    return found(places, show, evidence=len(acked) + len(polled))
