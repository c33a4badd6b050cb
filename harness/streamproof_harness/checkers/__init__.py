"""The checks: one anomaly a file, each a pure function of the terms of a history and a contract.

A check is called with `Terms` and a `Contract` and returns a `Finding`. It does not know how severe
the contract thinks its anomaly is, and it may raise: then its row is unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streamproof_harness.checkers import (
    abort_without_rewind,
    aborted_read,
    ack_in_the_past,
    attempts_wrong,
    circular_information_flow,
    commit_regression,
    commit_too_far,
    conservation,
    consumed_while_unassigned,
    corrupted,
    dead_letter_wrong,
    dishonest_outcome,
    dual_ownership,
    duplicate_bound,
    duplicate_delivery,
    duplicate_effect,
    early_read,
    handler_reorder,
    hanging_transaction,
    inconsistent_offset,
    log_duplicate,
    lost_write,
    misrouted,
    own_read,
    phantom,
    poll_nonmonotonic,
    poll_skip,
    producer_reorder,
    resume_not_at_commit,
    send_interleaved,
    torn_transaction,
    transform_not_atomic,
    transform_not_exactly_once,
    unseen,
    write_cycle,
    zombie_write,
)
from streamproof_harness.contract import Contract
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Finding

Judge = Callable[[Terms, Contract], Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A check and the capabilities it needs: where the header says that one is missing, it is not run."""

    judge: Judge
    needs: tuple[str, ...] = ()


_OFFSETS: Final = ("offsets",)

CHECKS: Final[Mapping[str, Check]] = {
    "lost-write": Check(lost_write.judge, _OFFSETS),
    "unseen": Check(unseen.judge),
    "phantom": Check(phantom.judge),
    "corrupted": Check(corrupted.judge),
    "misrouted": Check(misrouted.judge),
    "inconsistent-offset": Check(inconsistent_offset.judge, _OFFSETS),
    "log-duplicate": Check(log_duplicate.judge, _OFFSETS),
    "ack-in-the-past": Check(ack_in_the_past.judge, _OFFSETS),
    "producer-reorder": Check(producer_reorder.judge, _OFFSETS),
    "internal-producer-reorder": Check(producer_reorder.judge_internal, _OFFSETS),
    "dishonest-outcome": Check(dishonest_outcome.judge),
    "poll-nonmonotonic": Check(poll_nonmonotonic.judge, _OFFSETS),
    "internal-poll-nonmonotonic": Check(poll_nonmonotonic.judge_internal, _OFFSETS),
    "poll-skip": Check(poll_skip.judge, _OFFSETS),
    "internal-poll-skip": Check(poll_skip.judge_internal, _OFFSETS),
    "resume-not-at-commit": Check(resume_not_at_commit.judge, _OFFSETS),
    "commit-too-far": Check(commit_too_far.judge, _OFFSETS),
    "commit-regression": Check(commit_regression.judge, _OFFSETS),
    "consumed-while-unassigned": Check(consumed_while_unassigned.judge),
    "dual-ownership": Check(dual_ownership.judge, ("generations",)),
    "duplicate-delivery": Check(duplicate_delivery.judge),
    "duplicate-bound": Check(duplicate_bound.judge),
    "duplicate-effect": Check(duplicate_effect.judge),
    "handler-reorder": Check(handler_reorder.judge),
    "conservation": Check(conservation.judge),
    "attempts-wrong": Check(attempts_wrong.judge),
    "dead-letter-wrong": Check(dead_letter_wrong.judge),
    "aborted-read": Check(aborted_read.judge),
    "early-read": Check(early_read.judge),
    "own-read": Check(own_read.judge),
    "torn-transaction": Check(torn_transaction.judge, _OFFSETS),
    "send-interleaved": Check(send_interleaved.judge, _OFFSETS),
    "write-cycle": Check(write_cycle.judge, _OFFSETS),
    "circular-information-flow": Check(circular_information_flow.judge),
    "abort-without-rewind": Check(abort_without_rewind.judge, _OFFSETS),
    "transform-not-atomic": Check(transform_not_atomic.judge, _OFFSETS),
    "transform-not-exactly-once": Check(transform_not_exactly_once.judge),
    "zombie-write": Check(zombie_write.judge),
    "hanging-transaction": Check(hanging_transaction.judge, _OFFSETS),
}
"""Every check there is, by the name of its anomaly."""
