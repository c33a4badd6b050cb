"""write-cycle (G0): transactions whose records stand before each other's in a circle."""

import numpy as np

from streamproof_harness.checkers.cycles import joined
from streamproof_harness.checkers.dependencies import (
    flow_circles,
    goes_back,
    process_order,
    realtime_order,
    search,
    show_circle,
    write_read,
    write_write,
)
from streamproof_harness.checkers.wording import Words, finding
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """A cycle over write–write edges between transactions: each has a record after one of the one before.

    Its example is called G0; G0-process and G0-realtime need the order of a process' transactions, or
    that in which transactions stood and began; G1c-ww, G1c-ww-process and G1c-ww-realtime need
    write–read edges besides. Kafka does not isolate writes, so all of these are to be expected there.
    One anomaly for each set of entangled transactions. Evidence: pairs of transactions with
    neighbouring records in a log.
    """
    writes = write_write(terms)
    if not goes_back(terms, writes):
        return Finding(evidence=len(writes))
    process, realtime = process_order(terms), realtime_order(terms)
    is_open = np.ones(len(terms.transactions.names), np.bool_)
    stages = [
        ("G0", writes),
        ("G0-process", joined(writes, process)),
        ("G0-realtime", joined(writes, process, realtime)),
    ]
    found = search(terms, stages, is_open)
    reads = write_read(terms, is_last_only=True)
    if len(reads):
        for _, _, circle in flow_circles(terms, write_read(terms)):
            is_open[circle.component] = False  # those need no write–write edge
        stages = [(f"G1c-ww{name[2:]}", joined(edges, reads)) for name, edges in stages]
        found += search(terms, stages, is_open)
    words = Words(terms)
    return finding(
        len(found), range(len(found)), lambda number: show_circle(terms, words, *found[number]), len(writes)
    )
