"""poll-nonmonotonic and internal-poll-nonmonotonic: a reader goes back without having been told to."""

import numpy as np

from streamproof_harness.checkers.neighbours import neighbours
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Within a session a poll starts at or before the last position polled.

    One anomaly for each poll and log. Evidence: polls that were compared with the one before.
    """
    return _judge(terms, is_internal=False)


def judge_internal(terms: Terms, contract: Contract) -> Finding:
    """Within one poll a log's positions do not rise. Evidence: neighbours that were compared."""
    return _judge(terms, is_internal=True)


def _judge(terms: Terms, *, is_internal: bool) -> Finding:
    history, reading = terms.history, terms.reading
    compared = neighbours(terms, is_internal=is_internal)
    back = np.flatnonzero(compared & (reading.step <= 0))
    words = Words(terms)

    def show(pair: int) -> Example:
        last, first = int(reading.row[pair - 1]), int(reading.row[pair])
        polls = history.records.poll[last], history.records.poll[first]
        text = (
            f"{words.poll_process(int(polls[1]))} polled {words.record(first)} from "
            f"{words.record_place(first)} right after offset {int(history.records.offset[last])}"
        )
        return example(*(int(history.polls.completed[poll]) for poll in polls), text=text)

    return found(back, show, evidence=int(np.count_nonzero(compared)))
