"""The mutants of transactions, in the order of the checks that kill them."""

from dataclasses import replace
from typing import Any, Final

from streamproof.options import ConsumerOptions
from streamproof_harness.mutants.mutant import Mutant

_ABORTS: Final[dict[str, Any]] = {
    "scenario": "aborts-at-random",
    "parameters": {"rate": 1000, "seconds": 0.5, "devices": 20},
    "broker_parameters": {},
}
_SHARED: Final[dict[str, Any]] = {
    "scenario": "shared-outputs",
    "parameters": {"rate": 1000, "seconds": 0.5, "customers": 50},
    "broker_parameters": {},
}
"""Two workers that write to two logs, in transactions that stay open for 5 ms."""

_RELAY: Final[dict[str, Any]] = {
    "scenario": "relay",
    "parameters": {"rate": 150, "seconds": 0.6, "customers": 20},
    "broker_parameters": {},
}
"""Two workers that read and write one topic, in transactions of several polls."""

_ALONE: Final[dict[str, Any]] = {
    "scenario": "relay",
    "parameters": {"rate": 100, "seconds": 0.8, "customers": 20, "workers": 1},
    "broker_parameters": {"workers": 1},
}
"""The same with one worker, which gets nothing from others."""

_TAKEOVER: Final[dict[str, Any]] = {
    "scenario": "one-id-twice",
    "parameters": {"rate": 2000, "seconds": 0.4, "devices": 20},
    "is_in_engine": True,
}
"""A worker joins another one under its transactional id, and takes all of its work over in the end."""

_UNREAD: Final[dict[str, Any]] = {
    "scenario": "nothing-hangs",
    "parameters": {"rate": 800, "seconds": 0.5, "customers": 50},
    "is_in_engine": True,
}

_STARTED = "of what the former one had sent in its transaction before, the raise has aborted a part"
_OPEN = "it is read in a transaction that is still open"
_IF_ABORTED = "and no less, should that be aborted: groups of real brokers still change when work begins"


def _read_uncommitted(options: ConsumerOptions) -> ConsumerOptions:
    return replace(options, isolation="read_uncommitted")


TRANSACTIONAL: Final[tuple[Mutant, ...]] = (
    Mutant(
        "shows-what-was-aborted",
        "aborted-read",
        "the engine hands the records of aborted transactions out to read-committed readers",
        is_in_engine=True,
        **_ABORTS,
    ),
    Mutant(
        "shows-what-is-open",
        "early-read",
        "the engine moves the last stable offset too early: to the end, whatever is open",
        is_in_engine=True,
        **_SHARED,
    ),
    Mutant(
        "reads-uncommitted",
        "early-read",
        "a consumer reads uncommitted records, and its application does not know",
        options=_read_uncommitted,
        others={"aborted-read": _IF_ABORTED},
        **_SHARED,
    ),
    Mutant(
        "polls-its-own-sends",
        "own-read",
        "a worker's polls bring what its open transaction sent",
        options=_read_uncommitted,
        others={"early-read": _OPEN, "aborted-read": _IF_ABORTED},
        **_ALONE,
    ),
    Mutant(
        "commits-half-a-transaction",
        "torn-transaction",
        "the engine commits a transaction in one of its logs, and aborts it in the other",
        others={
            "lost-write": "the other half is nowhere to be seen",
            "unseen": "what nobody has polled when all is drained is unseen, too",
            "poll-skip": "readers go past it",
            "internal-poll-skip": "or past it within one poll",
        },
        at=20,
        is_in_engine=True,
        **_SHARED,
    ),
    Mutant(
        "leaves-room-for-others",
        "send-interleaved",
        "a producer stores the batch of a transaction in two goes",
        **_SHARED,
    ),
    Mutant(
        "writes-log-by-log",
        "write-cycle",
        "producers write one log after the other, not all in the same order",
        **_SHARED,
    ),
    Mutant(
        "polls-what-others-have-open",
        "circular-information-flow",
        "two workers' open transactions poll each other's records",
        options=_read_uncommitted,
        others={
            "early-read": _OPEN,
            "own-read": "and so are those of their own",
            "aborted-read": _IF_ABORTED,
        },
        **_RELAY,
    ),
    Mutant(
        "turns-a-batch-round",
        "internal-producer-reorder",
        "a producer stores the records of a transaction from its end",
        others={
            "producer-reorder": "they are one producer's as well",
            "transform-not-exactly-once": "they no longer stand in the order of their inputs",
        },
        **_SHARED,
    ),
    Mutant(
        "goes-on-after-an-abort",
        "abort-without-rewind",
        "a consumer does not go back when its transaction was aborted",
        others={
            "resume-not-at-commit": "what it goes on with does not lie at the stored progress",
            "transform-not-atomic": "it is as if the aborted progress had been stored",
            "transform-not-exactly-once": "nothing is made of the input that it skips",
        },
        **_ABORTS,
    ),
    Mutant(
        "loses-offsets-of-transactions",
        "transform-not-atomic",
        "the engine commits the records of transactions without their offsets",
        others={
            "resume-not-at-commit": "who takes over begins where the offsets were before",
            "duplicate-bound": "and so gets records again whose progress was stored",
            "transform-not-exactly-once": "and makes outputs of them again",
        },
        at=3,
        **_TAKEOVER,
    ),
    Mutant(
        "forgets-an-output",
        "transform-not-exactly-once",
        "an application makes nothing of one record",
        **_SHARED,
    ),
    Mutant(
        "forgets-to-fence",
        "zombie-write",
        "the engine gives a transactional id to a new producer, and lets the former one go on",
        **_TAKEOVER,
    ),
    Mutant(
        "accepts-an-old-epoch",
        "zombie-write",
        "the engine raises the epoch of a transactional id, and takes writes of a former one",
        others={
            "torn-transaction": _STARTED,
            "lost-write": _STARTED,
            "unseen": _STARTED,
            "poll-skip": _STARTED,
            "internal-poll-skip": _STARTED,
            "transform-not-atomic": _STARTED,
        },
        **_TAKEOVER,
    ),
    Mutant(
        "forgets-control-records",
        "hanging-transaction",
        "the engine ends transactions without a control record in one of their logs",
        at=10,
        **_UNREAD,
    ),
)
"""See :data:`~streamproof_harness.mutants.catalogue.MUTANTS`."""
