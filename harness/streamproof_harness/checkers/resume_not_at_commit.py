"""resume-not-at-commit: a reader began where its group's progress was not."""

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.terms.beginnings import Beginning
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A session begins neither at the last commit that is ok, one in flight, nor where the reset policy
    says.

    Judged in named groups, by the first record polled; offsets between which nothing known stands
    are the same beginning. After a transaction that did not commit a reader may also go back to where
    that had begun, and, if its outcome is unknown, go on. Sessions after a `seek` or a `nack`, and
    later ones of groups of which no commit is recorded, are not judged, nor is a reset policy that is
    not told. One anomaly for each session. Evidence: sessions that were judged.
    """
    wrong = [beginning for beginning in terms.beginnings if beginning.expects]
    words = Words(terms)

    def show(number: int) -> Example:
        return _show(terms, words, wrong[number])

    return finding(len(wrong), range(len(wrong)), show, evidence=len(terms.beginnings))


def _show(terms: Terms, words: Words, beginning: Beginning) -> Example:
    reading, commits, polls = terms.reading, terms.commits, terms.history.polls
    row, poll = int(reading.row[beginning.entry]), int(reading.poll[beginning.entry])
    text = (
        f"{words.group(beginning.group)}: {words.poll_process(poll)} began with {words.record(row)} in "
        f"{words.record_place(row)} instead of at {beginning.expects}"
    )
    last = beginning.stored.last
    committed = int(commits.completed[last]) if last >= 0 else -1
    return example(committed, int(polls.completed[poll]), text=text)
