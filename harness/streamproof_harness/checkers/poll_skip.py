"""poll-skip and internal-poll-skip: a reader goes past records that stand in its way."""

import numpy as np

from streamproof_harness.checkers.neighbours import neighbours
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """Within a session a poll begins beyond sent, untrimmed ids that stand after the last one polled.

    One anomaly for each poll and log. Evidence: polls that were compared with the one before.
    """
    return _judge(terms, is_internal=False)


def judge_internal(terms: Terms, contract: Contract) -> Finding:
    """The same within one poll. Evidence: neighbours in polls that were compared."""
    return _judge(terms, is_internal=True)


def _judge(terms: Terms, *, is_internal: bool) -> Finding:
    reading = terms.reading
    compared = neighbours(terms, is_internal=is_internal)
    jumps = np.flatnonzero(compared & (reading.step > 1))
    standing = terms.standing_before
    skips = jumps[standing[reading.place[jumps]] > standing[reading.place[jumps - 1] + 1]]
    words = Words(terms)

    def show(pair: int) -> Example:
        return _example(terms, words, pair)

    return found(skips, show, evidence=int(np.count_nonzero(compared)))


def _example(terms: Terms, words: Words, pair: int) -> Example:
    history, reading = terms.history, terms.reading
    last, first = int(reading.row[pair - 1]), int(reading.row[pair])
    low, high = int(reading.place[pair - 1]), int(reading.place[pair])
    inside = (terms.send_place > low) & (terms.send_place < high) & terms.is_effective
    skipped = np.flatnonzero(inside)
    polls = history.records.poll[last], history.records.poll[first]
    shown = ", ".join(words.send(row) for row in skipped[:3].tolist())
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    text = (
        f"{words.poll_process(int(polls[1]))} went from offset {int(history.records.offset[last])} "
        f"to {int(history.records.offset[first])} of {terms.logs.name(int(terms.record_log[first]))} "
        f"over {shown}{more}"
    )
    events = [int(history.polls.completed[poll]) for poll in polls]
    return example(*events, int(history.sends.completed[skipped[0]]), text=text)
