"""abort-without-rewind: after an aborted transaction its input was not read again."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.terms.taken import Taken
from streamproof_harness.terms.transactions import ABORTED
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """After a transaction that certainly aborted, while the process keeps the log, the next poll starts
    beyond that transaction's first polled position.

    Judged for the ``consumers`` of its `begin` and for polls that name it; the next poll is the first
    that was invoked after its last `end` completed. Where it was rewound before it aborted, the
    highest position at which it began again counts as the first. What a commit covers that took
    effect in between need not be read again. One anomaly for each transaction and log. Evidence: logs
    by transaction with a next poll.
    """
    txns = terms.transactions
    cases: list[tuple[Taken, int, bool]] = []
    for taken in terms.taken:
        if txns.state[taken.txn] == ABORTED:
            following = _next_entry(terms, taken)
            if following is not None:
                cases.append((taken, *following))
    wrong = [
        (taken, entry) for taken, entry, is_beyond in cases if is_beyond and not _is_done(terms, taken, entry)
    ]
    words = Words(terms)

    def show(number: int) -> Example:
        return _show(terms, words, *wrong[number])

    return finding(len(wrong), range(len(wrong)), show, evidence=len(cases))


def _next_entry(terms: Terms, taken: Taken) -> tuple[int, bool] | None:
    """The entry of the reading that comes next, and whether it lies too far on; None: nothing to judge."""
    reading, polls = terms.reading, terms.history.polls
    known = terms.known_before
    ended = int(terms.transactions.last_end_at[taken.txn])
    since = int(polls.completed[reading.poll[taken.last]])
    entry = taken.last + 1
    while entry < len(reading.row) and reading.continues[entry]:
        poll = int(reading.poll[entry])
        if not terms.holding.is_kept(taken.process, taken.log, since, int(polls.completed[poll])):
            return None
        is_beyond = bool(known[reading.place[entry]] > known[max(taken.starts)])
        # A poll that was under way may have been before the rewind or after it.
        if polls.invoked[poll] > ended or not is_beyond:
            return entry, is_beyond
        entry += 1
    return None


def _is_done(terms: Terms, taken: Taken, entry: int) -> bool:
    """Whether a commit that took effect since covers all that was not read again."""
    commits, reading = terms.commits, terms.reading
    done = terms.history.polls.completed[reading.poll[entry]]
    over = terms.transactions.over_at[taken.txn]
    since = commits.is_certain & (commits.log == taken.log) & (commits.applies_from > over)
    rows = np.flatnonzero(since & (commits.applies_from < done))
    reach = terms.places.firsts_at(taken.log, commits.offset[rows])
    return bool((reach >= reading.place[entry]).any())


def _show(terms: Terms, words: Words, taken: Taken, entry: int) -> Example:
    reading, polls = terms.reading, terms.history.polls
    first = int(np.flatnonzero(reading.place[taken.first : taken.last + 1] == max(taken.starts))[0])
    began = taken.first + first
    at, following = int(reading.row[began]), int(reading.row[entry])
    text = (
        f"{words.txn(taken.txn)} polled {words.record(at)} from {words.record_place(at)} and was aborted, "
        f"but {words.poll_process(int(reading.poll[entry]))} went on with {words.record(following)} at "
        f"offset {int(terms.history.records.offset[following])}"
    )
    events = [int(polls.completed[reading.poll[number]]) for number in (began, entry)]
    return example(*events, int(terms.transactions.decided_at[taken.txn]), text=text)
