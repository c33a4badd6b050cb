"""The mutants, in the order of the checks that kill them."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from streamproof import ConfigurationError
from streamproof_harness.clients.plans import ReaderPlan
from streamproof_harness.mutants.mutant import Mutant
from streamproof_harness.mutants.transactional import TRANSACTIONAL

_FLOW: Final[dict[str, Any]] = {
    "scenario": "fan-out",
    "parameters": {"rate": 4000, "seconds": 0.1, "customers": 100},
    "broker_parameters": {"rate": 2000, "seconds": 0.5, "customers": 100},
}
"""Two groups of one topic, 400 orders: ``shipments`` has one member, which handles 0.2 ms a record."""

_SHIPMENTS: Final[dict[str, Any]] = {**_FLOW, "group": "shipments"}
"""The same, with one group broken: what it misses, the other one gets."""

_PARTITIONS: Final[dict[str, Any]] = {
    "scenario": "order-per-partition",
    "parameters": {"rate": 4000, "seconds": 0.1, "devices": 100},
}
_PAUSES: Final[dict[str, Any]] = {
    "scenario": "pause-resume",
    "parameters": {"rate": 1000, "seconds": 0.5, "users": 100},
    "broker_parameters": {},
}
_MEMBERS: Final[dict[str, Any]] = {
    "scenario": "members-come-and-go",
    "parameters": {"rate": 5000, "seconds": 0.4, "customers": 100},
    "broker_parameters": {},
}
_RETRIES: Final[dict[str, Any]] = {
    "scenario": "retry-fixed",
    "parameters": {"rate": 2000, "seconds": 0.15, "customers": 50},
}
_BURST: Final[dict[str, Any]] = {
    "scenario": "retry-fixed",
    "parameters": {"rate": 100_000, "seconds": 0.003, "customers": 10},
}
"""All at once, so that polls bring many records of one key."""

_POISON: Final[dict[str, Any]] = {
    "scenario": "poison",
    "parameters": {"rate": 2000, "seconds": 0.2, "customers": 50},
}
_CRASH: Final[dict[str, Any]] = {
    "scenario": "lost-messages-fixed",
    "parameters": {"rate": 400, "seconds": 0.4, "devices": 20},
}

_AGAIN = "the group gets and handles one record twice"


def _attempts(most: int) -> Any:
    def changed(plan: ReaderPlan) -> ReaderPlan:
        return replace(plan, retry=replace(plan.retry, max_attempts=most))

    return changed


def _acknowledge_first(plan: ReaderPlan) -> ReaderPlan:
    return replace(plan, acknowledges_first=True)


MUTANTS: Final[tuple[Mutant, ...]] = (
    # the log
    Mutant(
        "begins-one-too-late",
        "lost-write",
        "a consumer that starts reading a log leaves out the first record",
        others={
            "unseen": "what nobody has polled when all is drained is unseen, too",
            "resume-not-at-commit": "it begins above the earliest offset, which it was told",
        },
        **_FLOW,
    ),
    Mutant(
        "acks-unsent",
        "unseen",
        "the producer acknowledges a record that it never sent",
        **_FLOW,
    ),
    Mutant(
        "loses-a-dead-letter",
        "unseen",
        "a dead letter is acknowledged and never sent",
        at=1,
        **_POISON,
    ),
    Mutant(
        "stores-a-stranger",
        "phantom",
        "the producer stores a record that nobody gave it",
        **_FLOW,
    ),
    Mutant(
        "flips-a-bit",
        "corrupted",
        "the producer changes a bit of a value",
        **_FLOW,
    ),
    Mutant(
        "garbles-a-key",
        "corrupted",
        "the consumer changes a key",
        **_SHIPMENTS,
    ),
    Mutant(
        "changes-a-dead-letter",
        "corrupted",
        "the value of a dead letter is replaced on its way",
        at=1,
        **_POISON,
    ),
    Mutant(
        "names-another-partition",
        "misrouted",
        "a receipt names another partition than the record stands in",
        **_FLOW,
    ),
    Mutant(
        "ignores-the-key",
        "misrouted",
        "the producer sends a record to another partition than that of its key",
        others={"handler-reorder": "two members read the two partitions, each at its own pace"},
        **_FLOW,
    ),
    Mutant(
        "swaps-contents",
        "inconsistent-offset",
        "one reader finds two neighbours in exchanged places: its replica is another one",
        **_SHIPMENTS,
    ),
    Mutant(
        "names-the-next-offset",
        "inconsistent-offset",
        "a receipt names the offset behind the record's own",
        others={
            "producer-reorder": "the producer's next record stands where this one was said to stand",
            "ack-in-the-past": "which was acknowledged before",
        },
        **_FLOW,
    ),
    Mutant(
        "stores-twice",
        "log-duplicate",
        "the producer stores a record twice: a retry without idempotence",
        others={"duplicate-delivery": _AGAIN, "attempts-wrong": _AGAIN},
        **_FLOW,
    ),
    Mutant(
        "deduplicates-by-key",
        "ack-in-the-past",
        "the producer takes a record for the last one of its key, sent again, and answers with its place",
        others={
            "inconsistent-offset": "two records have one place",
            "producer-reorder": "what it sent before stands behind that place",
            "lost-write": "the record is not stored, and who goes past its place has missed it",
            "unseen": "and nobody ever gets it",
        },
        **_FLOW,
    ),
    Mutant(
        "lets-others-pass",
        "producer-reorder",
        "the producer stores a record behind eight that it was given later",
        **_PARTITIONS,
    ),
    Mutant(
        "fails-what-it-stored",
        "dishonest-outcome",
        "the producer reports a record as certainly failed that it stored",
        **_FLOW,
    ),
    Mutant(
        "answers-twice",
        "dishonest-outcome",
        "the producer answers one send twice",
        **_FLOW,
    ),
    # the consumer
    Mutant(
        "turns-back",
        "poll-nonmonotonic",
        "a poll begins with the last record of the poll before",
        others={"duplicate-delivery": _AGAIN, "attempts-wrong": _AGAIN},
        **_SHIPMENTS,
    ),
    Mutant(
        "swaps-neighbours",
        "internal-poll-nonmonotonic",
        "a poll brings two neighbours in exchanged order",
        others={"internal-poll-skip": "whoever goes to the second first goes past the first"},
        **_SHIPMENTS,
    ),
    Mutant(
        "skips-a-record",
        "poll-skip",
        "a poll begins one record too late",
        **_SHIPMENTS,
    ),
    Mutant(
        "skips-after-a-pause",
        "poll-skip",
        "a record that was fetched before a pause is gone after it",
        others={
            "lost-write": "there is no other reader that gets it",
            "unseen": "what nobody has polled when all is drained is unseen, too",
        },
        **_PAUSES,
    ),
    Mutant(
        "skips-within-a-poll",
        "internal-poll-skip",
        "a poll leaves out a record in its middle",
        **_SHIPMENTS,
    ),
    Mutant(
        "resumes-one-too-late",
        "resume-not-at-commit",
        "a consumer that takes a log over leaves out the first record",
        others={
            "lost-write": "no other reader gets it",
            "unseen": "what nobody has polled when all is drained is unseen, too",
        },
        at=0,
        **_MEMBERS,
    ),
    Mutant(
        "commits-an-old-offset",
        "commit-regression",
        "a consumer stores an offset below the one that it stored before",
        **_SHIPMENTS,
    ),
    Mutant(
        "commits-on-poll",
        "commit-too-far",
        "a worker stores its progress when it has polled, before it handles",
        **_SHIPMENTS,
    ),
    Mutant(
        "commits-the-next",
        "commit-too-far",
        "a consumer stores an offset that is one too high",
        **_SHIPMENTS,
    ),
    Mutant(
        "keeps-a-revoked-log",
        "consumed-while-unassigned",
        "a consumer hands out a record of a log that it has given up",
        at=0,
        **_MEMBERS,
    ),
    Mutant(
        "gives-a-log-twice",
        "dual-ownership",
        "the engine lets all members of a group hold one of its logs",
        others={
            "duplicate-delivery": "both get its records",
            "attempts-wrong": "both handle them",
        },
        is_in_engine=True,
        **_MEMBERS,
    ),
    # delivery
    Mutant(
        "resumes-too-far-back",
        "duplicate-bound",
        "a consumer that takes a log over begins five records below the stored progress",
        others={"resume-not-at-commit": "that is the cause"},
        at=0,
        **_MEMBERS,
    ),
    Mutant(
        "repeats-a-record",
        "duplicate-delivery",
        "a poll brings a record twice",
        others={
            "internal-poll-nonmonotonic": "the second copy does not lie behind the first",
            "attempts-wrong": _AGAIN,
        },
        **_SHIPMENTS,
    ),
    Mutant(
        "stores-no-progress",
        "duplicate-effect",
        "a consumer reports progress as stored and stores none",
        others={"resume-not-at-commit": "who takes over begins where nothing was stored"},
        needs=("offsets",),
        **_MEMBERS,
    ),
    Mutant(
        "handles-twice",
        "duplicate-effect",
        "a worker handles a record twice",
        others={"attempts-wrong": "a record that was handled is handled again"},
        **_SHIPMENTS,
    ),
    Mutant(
        "handles-newest-first",
        "handler-reorder",
        "a worker handles a batch from its end",
        **_BURST,
    ),
    Mutant(
        "ignores-held-lanes",
        "handler-reorder",
        "a worker goes on with a lane whose first record waits for a retry",
        at=0,
        others={"attempts-wrong": "what it tries too early, and in vain, still counts as waiting"},
        **_BURST,
    ),
    Mutant(
        "invents-money",
        "conservation",
        "a consumer changes the amount of an order",
        **_SHIPMENTS,
    ),
    Mutant(
        "acknowledges-first",
        "conservation",
        "a consumer stores its progress before it handles, and crashes in between",
        plan=_acknowledge_first,
        others={
            "commit-too-far": "that is the cause",
            "dead-letter-wrong": "the record was delivered, and then nobody handled it",
        },
        **_CRASH,
    ),
    # policy
    Mutant(
        "forgets-an-attempt",
        "attempts-wrong",
        "a record that comes again is counted as new",
        **_RETRIES,
    ),
    Mutant(
        "gives-up-early",
        "attempts-wrong",
        "a worker buries a record one attempt too early",
        plan=_attempts(2),
        others={"dead-letter-wrong": "not all attempts were made, so there is no cause"},
        **_POISON,
    ),
    Mutant(
        "tries-too-often",
        "attempts-wrong",
        "a worker tries a record once more than it may",
        plan=_attempts(4),
        **_POISON,
    ),
    Mutant(
        "buries-twice",
        "attempts-wrong",
        "a worker does not acknowledge a record that it has buried, gets it again and buries it again",
        at=1,
        **_POISON,
    ),
    Mutant(
        "takes-nack-for-ack",
        "dead-letter-wrong",
        "a consumer takes the record that is given back for done",
        others={
            "attempts-wrong": "it is not tried again",
            "commit-too-far": "progress is stored beyond it",
        },
        at=1,
        **_RETRIES,
    ),
    Mutant(
        "drops-what-it-acknowledges",
        "dead-letter-wrong",
        "a worker acknowledges a record that it passes over",
        others={"commit-too-far": "progress is stored beyond it"},
        **_SHIPMENTS,
    ),
    *TRANSACTIONAL,
)
"""Every mutant there is. A check whose mutants are missing here has not shown that it finds anything."""

_BY_NAME: Final[Mapping[str, Mutant]] = {mutant.name: mutant for mutant in MUTANTS}


def mutant_named(name: str) -> Mutant:
    """One mutant; :class:`ConfigurationError` names those that there are."""
    if name not in _BY_NAME:
        raise ConfigurationError(f"there is no mutant {name!r}: choose one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
