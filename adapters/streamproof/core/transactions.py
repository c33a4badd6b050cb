"""The transaction coordinator: who may write under a transactional id, and how transactions end.

A pure state machine over the logs and the groups of one cluster; times and the source of producer
ids are passed in. One node has nobody to wait for: control records are written, and offsets stored,
within the call that ends a transaction, so that Kafka's *Prepare* states are passed through unseen,
and nobody is ever told to come back later (``CONCURRENT_TRANSACTIONS``).

Both versions of the protocol are spoken, chosen by the client with each request. In version 1 (KIP-98)
a client adds each log and group before it writes there, and keeps its epoch from one transaction to the
next. In version 2 (KIP-890) writing adds implicitly, and each end raises the epoch: what comes late from
a former transaction is refused. In both, a log takes transactional batches only of a transaction that
has it (KIP-890, part 1). A producer that continues after an error names the id and epoch it knows
(KIP-360), and is refused if another came in between.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupCoordinator
from streamproof.core.log import PartitionLog
from streamproof.core.offsets import CommittedOffset
from streamproof.core.producer_errors import (
    InvalidProducerEpoch,
    InvalidTransactionState,
    InvalidTransactionTimeout,
    NotInTransaction,
    UnknownProducerId,
    UnknownTransactionalId,
)
from streamproof.core.topics import Topics
from streamproof.core.transactional_id import (
    NOT_BEGUN,
    Moment,
    ProducerIdentity,
    ProtocolVersion,
    TransactionalId,
    TransactionDescription,
    TransactionState,
)
from streamproof.errors import ConfigurationError
from streamproof.records import TopicPartition

MAX_TIMEOUT_MS = 15 * 60 * 1000
"""Kafka's default of ``transaction.max.timeout.ms``."""

IDLE_MS = 7 * 24 * 3600 * 1000
"""Kafka's default of ``transactional.id.expiration.ms``."""

_NS_PER_MS = 1_000_000


class TransactionCoordinator:
    """Transactions by transactional id. ``version`` is by which protocol it ends those of others: the
    ones it fences or times out."""

    def __init__(
        self,
        topics: Topics,
        groups: GroupCoordinator,
        new_producer_id: Callable[[], int],
        *,
        version: ProtocolVersion = 2,
        max_timeout_ms: int = MAX_TIMEOUT_MS,
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._new_producer_id = new_producer_id
        self._version: ProtocolVersion = version
        self._max_timeout_ms = max_timeout_ms
        self._known: dict[str, TransactionalId] = {}
        self._ongoing: dict[str, TransactionalId] = {}
        self.next_deadline_ns: int | None = None
        """``expire`` has nothing to do before; ``None`` while no transaction is ongoing."""

    # -- producers -------------------------------------------------------------------------

    def init_producer_id(
        self,
        transactional_id: str | None,
        timeout_ms: int,
        now: Moment,
        expected: ProducerIdentity | None = None,
    ) -> ProducerIdentity:
        """The identity to write under from now on. What the former producer of the transactional id has
        open is aborted, and its writes are refused from then on. A producer that continues names what
        it wrote under before (``expected``, KIP-360).

        Raises :class:`ProducerFenced`, :class:`InvalidTransactionTimeout`, or
        :class:`ConfigurationError` for an empty transactional id.
        """
        if transactional_id is None:
            return ProducerIdentity(self._new_producer_id(), 0)
        if not transactional_id:
            raise ConfigurationError("transactional_id='' is not possible: give a name")
        if not 0 < timeout_ms <= self._max_timeout_ms:
            raise InvalidTransactionTimeout(
                f"a transaction timeout of {timeout_ms} ms is not possible: give 1 to {self._max_timeout_ms}"
            )
        found = self._known.get(transactional_id)
        if found is None:
            found = self._known[transactional_id] = TransactionalId(transactional_id, self._new_producer_id())
        elif expected is not None:
            found.require_continuity(expected)
        if found.state == "Ongoing":
            self._fence(found, now)
        found.enter_next_epoch(expected, self._new_producer_id)
        found.state = "Empty"
        found.start_ms = NOT_BEGUN
        found.timeout_ms = timeout_ms
        found.used_ns = now.ns
        found.was_timed_out = False
        return found.identity

    # -- a transaction ---------------------------------------------------------------------

    def add_partitions(
        self,
        transactional_id: str,
        producer: ProducerIdentity,
        partitions: Iterable[TopicPartition],
        now: Moment,
    ) -> None:
        """The producer is about to write to these logs; with the first, its transaction begins.

        Raises :class:`UnknownProducerId`, :class:`ProducerFenced`, :class:`UnknownTopic`.
        """
        found = self._of(transactional_id, producer)
        wanted = tuple(partitions)
        for partition in wanted:
            self._topics.log(partition)
        self._begin(found, now)
        found.partitions.update(wanted)

    def add_offsets(self, transactional_id: str, producer: ProducerIdentity, group: str, now: Moment) -> None:
        """The producer is about to commit offsets of this group."""
        found = self._of(transactional_id, producer)
        self._begin(found, now)
        found.groups.add(group)

    def admit(
        self,
        transactional_id: str,
        log: PartitionLog,
        producer: ProducerStamp,
        count: int,
        now: Moment,
        version: ProtocolVersion = 2,
    ) -> int | None:
        """Whether a transactional batch of ``count`` records may be appended to the log now: ``None``, or
        the first offset of the same batch that is stored already. A log that the transaction does not
        have yet is added in version 2, and a :class:`NotInTransaction` in version 1.

        Raises what ``add_partitions`` and :meth:`PartitionLog.admit` raise.
        """
        if log.producers.is_open(producer.producer_id, producer.epoch):
            return log.admit(producer, count)
        identity = ProducerIdentity(producer.producer_id, producer.epoch)
        try:
            log.producers.attempt(producer, version, now.ms)
        except InvalidProducerEpoch:
            if self._was_timed_out(transactional_id, identity):
                self._of(transactional_id, identity)  # which says so
            raise
        found = self._of(transactional_id, identity)
        if version == 2:
            self._begin(found, now)
            found.partitions.add(log.name)
        elif log.name not in found.partitions:
            raise NotInTransaction(
                f"{log.name.topic}[{log.name.partition}] is not part of the transaction of "
                f"{transactional_id!r}: abort it and begin anew"
            )
        return log.admit(producer, count, is_verified=True)

    def commit_offsets(
        self,
        transactional_id: str,
        producer: ProducerIdentity,
        group: str,
        member_id: str,
        generation: int,
        offsets: Mapping[TopicPartition, CommittedOffset],
        now: Moment,
        version: ProtocolVersion = 2,
    ) -> None:
        """Store the group's progress when the transaction commits. A member is fenced as in a commit of
        its own (KIP-447); clients without one give no ``member_id`` and a negative ``generation``.

        Raises a :class:`NotAssigned`, and what ``admit`` raises.
        """
        found = self._of(transactional_id, producer)
        if version == 1 and group not in found.groups:
            raise NotInTransaction(
                f"group {group!r} is not part of the transaction of {transactional_id!r}: "
                "abort it and begin anew"
            )
        if version == 2:
            self._begin(found, now)
            found.groups.add(group)
        self._groups.hold(group, found.producer_id, member_id, generation, offsets)

    # -- the end ---------------------------------------------------------------------------

    def end_transaction(
        self,
        transactional_id: str,
        producer: ProducerIdentity,
        is_commit: bool,
        now: Moment,
        version: ProtocolVersion = 2,
    ) -> ProducerIdentity:
        """Commit or abort everything of the transaction, and the identity to go on with: in version 2 with
        a higher epoch. The same end once more, if its answer was lost, is answered again.

        Raises :class:`UnknownProducerId`, :class:`ProducerFenced`, or :class:`InvalidTransactionState`
        if there is no transaction to end or it ended the other way.
        """
        found = self._known.get(transactional_id)
        is_retry = found is not None and version == 2 and found.repeats_end(producer)
        if found is None or not is_retry:
            found = self._of(transactional_id, producer)
            is_retry = version == 1
        wanted: TransactionState = "CompleteCommit" if is_commit else "CompleteAbort"
        if found.state == "Ongoing":
            self._end(found, is_commit, version, now)
        elif found.state == wanted and is_retry:
            pass
        elif version == 2 and not is_commit and not is_retry:
            self._end(found, is_commit, version, now)  # its producer does not know that nothing came here
        else:
            raise InvalidTransactionState(found.why_not_open)
        return found.identity

    def expire(self, now: Moment) -> list[str]:
        """Abort the transactions that were open for longer than their timeout, and fence their producers;
        the transactional ids."""
        if self.next_deadline_ns is None or now.ns < self.next_deadline_ns:
            return []
        late = [found for found in self._ongoing.values() if found.deadline_ns <= now.ns]
        for found in late:
            self._fence(found, now)
            found.was_timed_out = True
        self.next_deadline_ns = min((found.deadline_ns for found in self._ongoing.values()), default=None)
        return [found.name for found in late]

    def forget_idle(self, now: Moment, idle_ms: int = IDLE_MS) -> None:
        """Forget the transactional ids that nobody used for so long."""
        for name, found in list(self._known.items()):
            if found.state != "Ongoing" and now.ns - found.used_ns >= idle_ms * _NS_PER_MS:
                del self._known[name]

    # -- telling ---------------------------------------------------------------------------

    def describe(self, transactional_id: str) -> TransactionDescription:
        """What is known of a transactional id; :class:`UnknownTransactionalId`."""
        found = self._known.get(transactional_id)
        if found is None:
            raise UnknownTransactionalId(f"nobody initialised the transactional id {transactional_id!r}")
        return found.describe()

    def descriptions(self) -> list[TransactionDescription]:
        """All transactional ids, sorted."""
        return [self._known[name].describe() for name in sorted(self._known)]

    # -- inside ----------------------------------------------------------------------------

    def _of(self, transactional_id: str, producer: ProducerIdentity) -> TransactionalId:
        """The transactional id, if this is the producer that has it now."""
        found = self._known.get(transactional_id)
        if found is None or found.producer_id != producer.producer_id:
            raise UnknownProducerId(
                f"transactional id {transactional_id!r} does not belong to producer {producer.producer_id}: "
                "another took it over, or it was never initialised"
            )
        if found.epoch != producer.epoch:
            raise found.refusal(producer.epoch)
        return found

    def _was_timed_out(self, transactional_id: str, producer: ProducerIdentity) -> bool:
        found = self._known.get(transactional_id)
        return found is not None and found.was_timed_out and found.producer_id == producer.producer_id

    def _begin(self, found: TransactionalId, now: Moment) -> None:
        if found.state != "Ongoing":
            found.state = "Ongoing"
            found.was_timed_out = False
            found.start_ms = now.ms
            found.deadline_ns = now.ns + found.timeout_ms * _NS_PER_MS
            self._ongoing[found.name] = found
            if self.next_deadline_ns is None or found.deadline_ns < self.next_deadline_ns:
                self.next_deadline_ns = found.deadline_ns

    def _fence(self, found: TransactionalId, now: Moment) -> None:
        """Abort what is open in an epoch that no producer has."""
        if self._version == 1:
            found.fence()
        self._end(found, False, self._version, now, is_fence=True)

    def _end(
        self,
        found: TransactionalId,
        is_commit: bool,
        version: ProtocolVersion,
        now: Moment,
        is_fence: bool = False,
    ) -> None:
        is_exhausted = found.is_exhausted and not is_fence
        former = found.producer_id
        if version == 2:
            found.raise_epoch()
        for partition in sorted(found.partitions):
            topic = self._topics.find(partition.topic)
            if topic is None or partition.partition >= len(topic.logs):
                continue  # deleted meanwhile
            with suppress(InvalidProducerEpoch):  # misused as idempotent: then nothing is open there
                topic.logs[partition.partition].end_transaction(former, found.epoch, is_commit, now.ms)
        for group in sorted(found.groups):
            self._groups.settle(group, former, is_commit, now.ns)
        if version == 2 and is_exhausted:
            found.rotate(self._new_producer_id)
        found.state = "CompleteCommit" if is_commit else "CompleteAbort"
        found.start_ms = NOT_BEGUN
        found.used_ns = now.ns
        found.partitions.clear()
        found.groups.clear()
        if self._ongoing.pop(found.name, None) is not None and not self._ongoing:
            self.next_deadline_ns = None
