"""commit-regression: a group's progress went back, or an old generation's was taken."""

import numpy as np

from streamproof_harness.checkers.earlier import overtaken
from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.generations import NO_LINEAGE
from streamproof_harness.terms.holding import seeks_before, stretch_numbers
from streamproof_harness.terms.order import numbered
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A commit below an earlier one of the same generation, or from an older generation after a newer
    one's, reported ok.

    Both are of one group and log and took effect, by themselves or with their transaction; the
    earlier one had when the later one began. Where commits tell no generation, those of one process
    are compared while it keeps the log. What follows a `seek` by a member in the log is compared
    only with what follows it, too. One anomaly for each commit and log. Evidence: commits by log that
    were compared.
    """
    commits = terms.commits
    at = np.flatnonzero(commits.is_certain & (commits.log >= 0))
    log, lineage, generation = commits.log[at], commits.lineage[at], commits.generation[at]
    begun, done = commits.applies_from[at], commits.applies_by[at]
    # Without a generation the stretch in which a process keeps the log stands for one.
    is_plain = lineage == NO_LINEAGE
    stretch = np.where(is_plain, _stretches(terms, at), 0)
    owner = np.where(is_plain, commits.process[at], -1)
    sought = seeks_before(terms, commits.group[at], log, commits.invoked[at])
    shared = commits.group[at], log, lineage
    lower = overtaken(numbered(*shared, generation, owner, stretch, sought), commits.offset[at], begun, done)
    older = overtaken(numbered(*shared, owner, stretch), generation, begun, done)
    words = Words(terms)
    cases = {row: (earlier, "older") for row, earlier in _pairs(at, older.late, older.earlier)}
    cases |= {row: (earlier, "lower") for row, earlier in _pairs(at, lower.late, lower.earlier)}

    def show(row: int) -> Example:
        earlier, kind = cases[row]
        return _show(terms, words, row, earlier, is_older=kind == "older")

    return finding(len(cases), sorted(cases), show, evidence=max(lower.compared, older.compared))


def _stretches(terms: Terms, at: Ints) -> Ints:
    commits = terms.commits
    return stretch_numbers(terms, commits.process[at], commits.log[at], commits.invoked[at])


def _pairs(at: Ints, late: Ints, earlier: Ints) -> list[tuple[int, int]]:
    return list(zip(at[late].tolist(), at[earlier].tolist(), strict=True))


def _show(terms: Terms, words: Words, row: int, earlier: int, *, is_older: bool) -> Example:
    commits = terms.commits
    names = terms.history.names.processes
    place = words.place(int(commits.log[row]), int(commits.offset[row]))
    before = f"{names[int(commits.process[earlier])]} had committed offset {int(commits.offset[earlier])}"
    if is_older:
        generations = [words.generation(number) for number in (row, earlier)]
        told = f"in generation {generations[0]} after {before} in generation {generations[1]}"
    else:
        told = f"after {before}"
    text = (
        f"{words.group(int(commits.group[row]))}: {names[int(commits.process[row])]} committed {place} {told}"
    )
    events = int(commits.completed[earlier]), int(commits.invoked[row]), int(commits.completed[row])
    return example(*events, text=text)
