"""Which record is which send's, and where sends stand."""

from functools import cached_property

import numpy as np

from streamproof_harness.history.codes import Ints


class SentIds:
    """Finds sends by the hash of their id. Sorts the ids when it is first asked."""

    def __init__(self, ids: Ints) -> None:
        self._ids = ids

    @cached_property
    def _sorted(self) -> tuple[Ints, Ints]:
        order = np.argsort(self._ids, kind="stable")
        return order, self._ids[order]

    def rows(self, ids: Ints) -> Ints:
        """The send of each of `ids`; -1 where nobody sent it."""
        if not len(self._ids) or not len(ids):
            return np.full(len(ids), -1, np.int64)
        order, ranked = self._sorted
        at = np.minimum(np.searchsorted(ranked, ids), len(order) - 1)
        return np.where(ranked[at] == ids, order[at], -1)


def sends_of_records(
    sent_ids: Ints,
    ack_place: Ints,
    record_ids: Ints,
    record_place: Ints,
    count_of_places: int,
    sent: SentIds,
) -> Ints:
    """The send of each polled record, -1 where nobody sent its id.

    Most records are polled from where their send was acknowledged: those are found by place, in
    linear time. Only the rest is looked up by id.
    """
    sent_at = np.full(count_of_places + 1, -1, np.int64)  # the last entry is for place -1
    known = ack_place >= 0
    sent_at[ack_place[known]] = np.flatnonzero(known)
    rows = sent_at[record_place]
    found = rows >= 0
    found &= sent_ids[rows] == record_ids if len(sent_ids) else False
    missing = np.flatnonzero(~found)
    if len(missing):
        rows[missing] = sent.rows(record_ids[missing])
    return rows


def first_of_sends(count: int, record_send: Ints, values: Ints) -> Ints:
    """For each of `count` sends the value of its first polled record whose value is not -1."""
    first = np.full(count, -1, np.int64)
    known = (record_send >= 0) & (values >= 0)
    first[record_send[known][::-1]] = values[known][::-1]  # the first to be polled is written last
    return first
