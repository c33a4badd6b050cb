"""One transactional id: which producer has it, in which epoch, and what its transaction holds.

Plain state and the rules for its epochs (KIP-98, KIP-360, KIP-890); the coordinator of
``transactions`` does with it what concerns logs and groups.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from streamproof.core.producer_errors import ProducerFenced, TransactionTimedOut
from streamproof.records import TopicPartition

ProtocolVersion = Literal[1, 2]
TransactionState = Literal["Empty", "Ongoing", "CompleteCommit", "CompleteAbort"]

LAST_EPOCH = (1 << 15) - 1
"""Epochs are 16 bits wide; the last is kept for fencing, so that a producer never has it."""

NOT_BEGUN = -1
_NONE = -1


class Moment(NamedTuple):
    """One instant on both clocks: milliseconds since the Unix epoch, which control records carry, and
    nanoseconds of a clock that never goes back, which deadlines are measured by."""

    ms: int
    ns: int


class ProducerIdentity(NamedTuple):
    """What a producer writes under."""

    producer_id: int
    epoch: int


class TransactionDescription(NamedTuple):
    """One transactional id as ``DescribeTransactions`` tells it (KIP-664)."""

    transactional_id: str
    state: TransactionState
    producer: ProducerIdentity
    timeout_ms: int
    start_ms: int
    """When the ongoing transaction began; ``-1`` without one."""
    partitions: frozenset[TopicPartition]
    groups: frozenset[str]


class TransactionalId:
    """What the coordinator knows of one. Only the coordinator changes it."""

    __slots__ = (
        "deadline_ns",
        "epoch",
        "former_epoch",
        "former_producer_id",
        "groups",
        "name",
        "partitions",
        "producer_id",
        "start_ms",
        "state",
        "timeout_ms",
        "used_ns",
        "was_timed_out",
    )

    def __init__(self, name: str, producer_id: int) -> None:
        self.name = name
        self.producer_id = producer_id
        self.epoch = _NONE
        self.former_producer_id = _NONE
        self.former_epoch = _NONE
        self.timeout_ms = 0
        self.state: TransactionState = "Empty"
        self.partitions: set[TopicPartition] = set()
        self.groups: set[str] = set()
        self.start_ms = _NONE
        self.deadline_ns = 0
        self.used_ns = 0
        self.was_timed_out = False

    @property
    def identity(self) -> ProducerIdentity:
        """Who has it now."""
        return ProducerIdentity(self.producer_id, self.epoch)

    @property
    def is_exhausted(self) -> bool:
        """Whether no further epoch can be given to a producer."""
        return self.epoch >= LAST_EPOCH - 1

    def describe(self) -> TransactionDescription:
        """As others may see it."""
        return TransactionDescription(
            self.name,
            self.state,
            self.identity,
            self.timeout_ms,
            self.start_ms,
            frozenset(self.partitions),
            frozenset(self.groups),
        )

    # -- epochs ----------------------------------------------------------------------------

    def require_continuity(self, expected: ProducerIdentity) -> None:
        """Raise :class:`ProducerFenced` unless the producer that has this identity may go on: it
        has the id now, or lost the answer of the call that gave it a new producer id."""
        is_retry = expected.producer_id == self.former_producer_id and expected.epoch >= LAST_EPOCH - 1
        if self.epoch != _NONE and expected.producer_id != self.producer_id and not is_retry:
            raise self.refusal(expected.epoch)

    def enter_next_epoch(self, expected: ProducerIdentity | None, new_producer_id: Callable[[], int]) -> None:
        """The next epoch of a producer that comes, or of one that goes on (``expected``)."""
        if self.is_exhausted and (expected is None or expected.epoch == self.epoch):
            former = _NONE if expected is None else self.epoch
            self.rotate(new_producer_id)
            self.former_epoch = former
        elif expected is None:
            self.former_epoch = _NONE
            self.epoch += 1
        elif expected.epoch == self.epoch or self.epoch == _NONE:
            self.former_epoch = self.epoch
            self.epoch += 1
        elif expected.epoch != self.former_epoch:  # else it is the same call once more
            raise self.refusal(expected.epoch)

    def raise_epoch(self) -> None:
        """A transaction ends in version 2."""
        self.former_epoch = self.epoch
        self.epoch = min(self.epoch + 1, LAST_EPOCH)

    def fence(self) -> None:
        """A transaction is ended by others in version 1: nobody may go on from it."""
        self.former_epoch = _NONE
        self.epoch = min(self.epoch + 1, LAST_EPOCH)

    def rotate(self, new_producer_id: Callable[[], int]) -> None:
        """A new producer id, whose epochs begin anew."""
        self.former_producer_id = self.producer_id
        self.producer_id = new_producer_id()
        self.epoch = 0

    def repeats_end(self, producer: ProducerIdentity) -> bool:
        """Whether these are the id and epoch of the transaction that ended last, in version 2."""
        if self.state not in ("CompleteCommit", "CompleteAbort"):
            return False
        if self.producer_id == producer.producer_id:
            return self.epoch == producer.epoch + 1
        is_last = producer.epoch == LAST_EPOCH - 1 and self.epoch == 0
        return is_last and self.former_producer_id == producer.producer_id

    # -- refusals --------------------------------------------------------------------------

    def refusal(self, epoch: int) -> ProducerFenced | TransactionTimedOut:
        """Why an epoch that is not the present one is refused."""
        if not self.was_timed_out:
            return ProducerFenced(
                f"a newer producer has the transactional id {self.name!r}, this one must stop: "
                "each instance needs a transactional id of its own"
            )
        kind = TransactionTimedOut if epoch == self.former_epoch else ProducerFenced
        return kind(self.why_not_open)

    @property
    def why_not_open(self) -> str:
        """Why there is no transaction to go on with or to end."""
        if self.was_timed_out:
            return (
                f"the transaction of {self.name!r} was open for longer than its timeout of "
                f"{self.timeout_ms} ms and was aborted: make transactions shorter, or "
                "transaction_timeout_s longer"
            )
        return f"{self.name!r} has no transaction open: its state is {self.state}"
