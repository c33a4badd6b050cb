"""What the processes of a run shall do, as values that can be sent to another process."""

import zlib
from typing import Literal

import msgspec

from streamproof.delivery.retry import Growth, Jitter, Retry
from streamproof.options import Order


class Place(msgspec.Struct, frozen=True):
    """Where a run takes place: a backend, and the prefix of its topics and groups there.

    ``mutant`` names the defect that the clients shall have, see :mod:`streamproof_harness.mutants`.
    """

    url: str
    namespace: str = ""
    mutant: str = ""


class RetryPlan(msgspec.Struct, frozen=True):
    """A retry policy without code in it; see :class:`~streamproof.delivery.retry.Retry`."""

    growth: Growth = "fixed"
    max_attempts: int = 1
    base_s: float = 0.0
    max_delay_s: float = 60.0
    jitter: Jitter = "none"
    jitter_s: float = 0.0
    seed: int = 0

    def policy(self) -> Retry:
        """The policy to use."""
        return Retry(
            growth=self.growth,
            max_attempts=self.max_attempts,
            base_s=self.base_s,
            max_delay_s=self.max_delay_s,
            jitter=self.jitter,
            jitter_s=self.jitter_s,
            seed=self.seed,
        )


class FailurePlan(msgspec.Struct, frozen=True):
    """Which records a handler fails on, decided by the record's id alone.

    One record in ``one_in`` (0: none) fails ``times`` times and then succeeds; one in
    ``poison_one_in`` always fails.
    """

    one_in: int = 0
    times: int = 0
    poison_one_in: int = 0

    def fails(self, id: str, attempt: int) -> bool:
        """Whether this attempt at this record fails."""
        draw = zlib.crc32(id.encode())
        if self.poison_one_in and draw % self.poison_one_in == 1 % self.poison_one_in:
            return True
        return bool(self.one_in and draw // 7 % self.one_in == 0 and attempt <= self.times)


Step = Literal["", "polled", "handled", "produced", "stored", "committing", "committed"]
"""Of a transaction: records are there · the first is computed · the outputs are sent · the progress is
in the transaction · the commit is about to be asked for · it was answered."""

STEPS: tuple[Step, ...] = ("polled", "handled", "produced", "stored", "committing", "committed")


class TransformPlan(msgspec.Struct, frozen=True, tag=True):
    """One member of a group that transforms ``topics`` into ``to`` by an application, which see
    :data:`~streamproof_harness.applications.APPLICATIONS`.

    Without a ``transactional_id`` it sends and commits as people do without transactions.
    ``crash_at``: it dies, without a word, when it reaches that step in its transaction number
    ``crash_after``. ``hang_at``: it hangs there, as a process does whose machine sleeps, until it is
    told to go on; only processes of the operating system can. One transaction in ``abort_one_in`` or so
    (0: none) is aborted: when its first output is computed, when all are sent, or when the progress is
    in it.

    With more than one of ``polls`` a transaction covers so many, all but the first of them made while
    it is open; ``linger_s`` is how long it stays open after each batch of outputs.
    """

    topics: tuple[str, ...]
    group: str
    to: str
    application: str
    transactional_id: str | None
    # A consumer asks its backend for no more than that at a time, so that a transaction begins with all
    # that a poll brought: none of it is left for the next one when it aborts.
    max_records: int = 100
    session_timeout_s: float = 6.0
    transaction_timeout_s: float = 10.0
    restore_s: float = 30.0
    crash_at: Step = ""
    crash_after: int = 1
    hang_at: Step = ""
    abort_one_in: int = 0
    polls: int = 1
    linger_s: float = 0.0


class EffectPlan(msgspec.Struct, frozen=True, tag=True):
    """One member of a group that transforms ``topics`` into ``to`` with the help of a ``database``, a
    SQLite file: each record has its effect there once.

    ``crash_at``: it dies, without a word, when it reaches that step after its effect number
    ``crash_after``. Here *stored* means committed to the database, *produced* sent by the relay, and
    *committed* acknowledged.
    """

    topics: tuple[str, ...]
    group: str
    to: str
    application: str
    database: str
    max_records: int = 50
    session_timeout_s: float = 6.0
    crash_at: Step = ""
    crash_after: int = 1


class ReaderPlan(msgspec.Struct, frozen=True, tag=True):
    """One member of a group, or one reader on its own.

    ``crash_after``: it dies, without a word, after its handler was done with that many records
    (0: never): before it acknowledges, or, with ``acknowledges_first``, before the handler runs.
    ``marks``: a SQLite file in which it marks the messages whose effect was applied; it applies none
    twice then.
    """

    topics: tuple[str, ...]
    group: str | None = None
    start: Literal["earliest", "latest"] = "earliest"
    order: Order = "partition"
    acknowledges_first: bool = False
    retry: RetryPlan = RetryPlan()
    failures: FailurePlan = FailurePlan()
    dead_letter: str | None = None
    handle_s: float = 0.0
    max_records: int = 100
    prefetch: int = 1000
    commit_interval_s: float | None = 0.2
    session_timeout_s: float = 6.0
    crash_after: int = 0
    marks: str = ""


Plan = ReaderPlan | TransformPlan | EffectPlan
"""What a client process can be told to do."""
