"""The checks: one anomaly a file, each a pure function of the terms of a history and a contract.

A check is called with `Terms` and a `Contract` and returns a `Finding`. It does not know how severe
the contract thinks its anomaly is, and it may raise: then its row is unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streamproof_harness.checkers import lost_write, phantom, poll_skip
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Finding

Judge = Callable[[Terms, Contract], Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A check and the capabilities it needs: where the header says that one is missing, it is not run."""

    judge: Judge
    needs: tuple[str, ...] = ()


CHECKS: Final[Mapping[str, Check]] = {
    "lost-write": Check(lost_write.judge, needs=("offsets",)),
    "phantom": Check(phantom.judge),
    "poll-skip": Check(poll_skip.judge, needs=("offsets",)),
    "internal-poll-skip": Check(poll_skip.judge_internal, needs=("offsets",)),
}
"""Every check there is, by the name of its anomaly."""
