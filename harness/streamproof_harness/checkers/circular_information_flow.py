"""circular-information-flow (G1c): transactions that saw each other's records in a circle."""

from streamproof_harness.checkers.dependencies import flow_circles, show_circle, write_read
from streamproof_harness.checkers.wording import Words, finding
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A cycle over write–read edges: each transaction polled, read-committed, what the one before sent.

    Its example is called G1c. Cycles that need the order of a process' transactions, or the order in
    which transactions stood and began, are called G1c-process and G1c-realtime. (Those that need
    write–write edges count as `write-cycle`.) One anomaly for each set of entangled transactions.
    Evidence: pairs of transactions of which one polled what the other sent.
    """
    edges = write_read(terms)
    found = flow_circles(terms, edges)
    words = Words(terms)
    return finding(
        len(found), range(len(found)), lambda number: show_circle(terms, words, *found[number]), len(edges)
    )
