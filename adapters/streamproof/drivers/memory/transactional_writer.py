"""Writing transactions into an in-memory cluster: what blocking and async producers share.

A client of the coordinator in the cluster's own process: what it asks is answered when the call
returns, and nothing is ever asked twice. A send that failed, for whatever reason, dooms its
transaction: what is committed has no gap.
"""

from collections.abc import Mapping
from typing import NoReturn

from streamproof.core.batch import ProducerStamp
from streamproof.core.log import PartitionLog
from streamproof.core.offsets import CommittedOffset
from streamproof.core.producer_errors import InvalidTransactionState
from streamproof.core.producer_ledger import following_sequence
from streamproof.core.topics import Topic
from streamproof.core.transactional_id import ProducerIdentity
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.deliveries import Answer
from streamproof.drivers.memory.faults import Api, Request
from streamproof.drivers.memory.writer import MemoryWriter
from streamproof.errors import (
    Fenced,
    NotAssigned,
    StreamproofError,
    TransactionAborted,
    TransactionUnknown,
    UsageError,
)
from streamproof.options import ProducerOptions
from streamproof.records import GroupMembership, Headers, RawRecord, TopicPartition


class TransactionalWriter(MemoryWriter):
    """Appends within transactions; its verbs keep the promises of
    :class:`~streamproof.driver.AsyncTransactionalProducerDriver`."""

    is_plain = False

    def __init__(self, cluster: MemoryCluster, client: str, options: ProducerOptions) -> None:
        super().__init__(cluster, client)
        assert options.transactional_id is not None
        self._id = options.transactional_id
        self._timeout_ms = max(1, round(options.transaction_timeout_s * 1000))
        self._version = cluster.settings.transaction_version
        self._identity: ProducerIdentity | None = None
        self._is_open = False
        self._has_asked = False  # so that the coordinator may have an open transaction
        self._failure: StreamproofError | None = None
        self._touched: set[PartitionLog] = set()
        self._sequences: dict[PartitionLog, int] = {}

    # -- verbs -----------------------------------------------------------------------------

    def init_transactions(self) -> None:
        """Take the transactional id over; again, to go on after an unknown outcome."""
        with self._cluster.lock:
            self._require_standing()
            self._cluster.expire_transactions()
            self._cluster.forget_producers()
            try:
                self._ask("init")
                if self._identity is not None and self._has_asked:
                    self._finish(self._identity)
                found = self._cluster.transactions.init_producer_id(
                    self._id, self._timeout_ms, self._cluster.moment(), self._identity
                )
                self._cluster.spread_stability()
                self._hear("init")
            except Fenced as error:
                self._doom(error)
            self._go_on(found)

    def begin_transaction(self) -> None:
        """Sends and offsets belong to one transaction from now on."""
        self._require_standing()
        if self._identity is None or self._is_open:
            why = "is open already" if self._is_open else "cannot begin before init_transactions"
            raise UsageError(f"a transaction of {self._id!r} {why}")
        self._is_open = True

    def commit_offsets(self, offsets: Mapping[TopicPartition, int], member: GroupMembership) -> None:
        """Store a group's progress with this transaction."""
        with self._cluster.lock:
            identity = self._require_transaction()
            self._cluster.expire_transactions()
            try:
                self._ask("offsets", member.group)
                self._has_asked = True
                self._hold(identity, offsets, member)
                self._hear("offsets", member.group)
            except StreamproofError as error:
                self._doom(error)

    def commit_transaction(self) -> None:
        """Make everything visible at once, or raise."""
        with self._cluster.lock:
            identity = self._require_transaction()
            if not self._has_asked:
                self._is_open = False  # nothing happened in it, so that nobody has to be told
                return
            self._cluster.expire_transactions()
            try:
                self._ask("end")
                found = self._end(identity, is_commit=True)
                self._hear("end")
            except StreamproofError as error:
                self._doom(error)
            else:
                self._go_on(found)

    def abort_transaction(self) -> None:
        """Make sure that nothing of it is ever seen by a read-committed reader."""
        with self._cluster.lock:
            self._require_standing()
            found = self._identity
            if found is not None and self._has_asked:
                self._cluster.expire_transactions()
                try:
                    self._ask("end")
                    found = self._end(found, is_commit=False)
                    self._hear("end")
                except Fenced as error:
                    self._doom(error)
            if found is not None:
                self._go_on(found)

    def shut(self) -> None:
        """Take no more records, and abort what is open. A second call does nothing."""
        with self._cluster.lock:
            is_new, self.is_closed = not self.is_closed, True
            if is_new and self._identity is not None and self._has_asked:
                faults = self._cluster.faults
                if not faults.interceptors or faults.before(self._request("end")) is None:
                    self._finish_quietly(self._identity)

    # -- records ---------------------------------------------------------------------------

    def append(
        self,
        name: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Answer:
        """Append one record; a refusal before any log was asked dooms the transaction, too."""
        answer = super().append(name, value, key, headers, partition, timestamp_ms)
        if self._is_open and self._failure is None and isinstance(answer, StreamproofError):
            self._failure = answer
        return answer

    def _store(
        self, topic: Topic, log: PartitionLog, records: list[RawRecord], size: int, latest_ms: int
    ) -> None:
        """Append to one log, which is in the transaction from then on."""
        identity = self._require_transaction()
        faults = self._cluster.faults
        request = Request("produce", self._client, None, topic.name, log.name.partition)
        try:
            if log not in self._touched:
                self._add(identity, log)
            if faults.interceptors:
                faults.ask(request)
            self._append(identity, log, records, size, latest_ms)
            if faults.interceptors:
                faults.hear(request)
        except StreamproofError as error:
            self._failure = error
            raise
        if not topic.keeps_all:
            log.retain(self._cluster.clock.now_ms())

    def _append(
        self,
        identity: ProducerIdentity,
        log: PartitionLog,
        records: list[RawRecord],
        size: int,
        latest_ms: int,
    ) -> None:
        sequence = self._sequences.get(log, 0)
        stamp = ProducerStamp(identity.producer_id, identity.epoch, sequence, True)
        found = self._cluster.transactions.admit(
            self._id, log, stamp, len(records), self._cluster.moment(), self._version
        )
        assert found is None, "no batch is sent twice"
        log.append(records, size, latest_ms, stamp)
        self._sequences[log] = following_sequence(sequence, len(records))

    def _add(self, identity: ProducerIdentity, log: PartitionLog) -> None:
        """Tell the coordinator of a log, as version 1 does. In version 2 the first batch says it, so
        that there is no such request; only faults make one."""
        faults = self._cluster.faults
        request = Request("add", self._client, None, log.name.topic, log.name.partition)
        if faults.interceptors:
            faults.ask(request)
        self._has_asked = True
        if self._version == 1 or faults.interceptors:
            self._cluster.transactions.add_partitions(self._id, identity, (log.name,), self._cluster.moment())
        error = faults.after(request) if faults.interceptors else None
        if error is not None:  # whether it was added or not, the records were not sent
            raise TransactionAborted(f"the record was not sent: {error}") from error
        self._touched.add(log)

    # -- inside: with the cluster locked ---------------------------------------------------

    def _hold(
        self, identity: ProducerIdentity, offsets: Mapping[TopicPartition, int], member: GroupMembership
    ) -> None:
        transactions, now = self._cluster.transactions, self._cluster.moment()
        if self._version == 1:
            transactions.add_offsets(self._id, identity, member.group, now)
        transactions.commit_offsets(
            self._id,
            identity,
            member.group,
            member.member_id,
            member.generation,
            {log: CommittedOffset(offset) for log, offset in offsets.items()},
            now,
            self._version,
        )

    def _end(self, identity: ProducerIdentity, is_commit: bool) -> ProducerIdentity:
        found = self._cluster.transactions.end_transaction(
            self._id, identity, is_commit, self._cluster.moment(), self._version
        )
        self._cluster.spread_stability()
        return found

    def _finish(self, identity: ProducerIdentity) -> None:
        """End what may be open, whichever way it ended by now; :class:`Fenced`."""
        try:
            self._end(identity, is_commit=False)
        except InvalidTransactionState:
            return  # it is committed, or the coordinator heard nothing of it

    def _finish_quietly(self, identity: ProducerIdentity) -> None:
        try:
            self._finish(identity)
        except Fenced:
            return  # then a newer producer has finished it

    def _go_on(self, identity: ProducerIdentity) -> None:
        """Nothing is open any more; sequences of another epoch begin anew."""
        if identity != self._identity:
            self._sequences.clear()
        self._identity = identity
        self._touched.clear()
        self._is_open = self._has_asked = False
        self._failure = None

    def _require_standing(self) -> None:
        """Nothing but closing works after a newer producer took over."""
        self.require_open()
        if isinstance(self._failure, Fenced):
            raise _told(self._failure) from self._failure

    def _require_transaction(self) -> ProducerIdentity:
        self._require_standing()
        if self._identity is None or not self._is_open:
            raise UsageError(f"no transaction of {self._id!r} is open: call begin_transaction() first")
        if self._failure is not None:
            raise _told(self._failure) from self._failure
        return self._identity

    def _doom(self, error: StreamproofError) -> NoReturn:
        """The transaction cannot be committed after this error: tell its producer."""
        self._failure = error
        raise _told(error) from error

    def _request(self, api: Api, group: str | None = None) -> Request:
        return Request(api, self._client, group)

    def _ask(self, api: Api, group: str | None = None) -> None:
        if self._cluster.faults.interceptors:
            self._cluster.faults.ask(self._request(api, group))

    def _hear(self, api: Api, group: str | None = None) -> None:
        faults = self._cluster.faults
        if faults.interceptors:
            error = faults.after(self._request(api, group))
            if error is not None and api == "offsets":
                raise error  # stored or not, they go with the transaction, which will not commit
            if error is not None:
                raise TransactionUnknown(f"the outcome is not known: {error}") from error


def _told(error: StreamproofError) -> StreamproofError:
    """What a producer is told when this stands in the way of its commit."""
    match error:
        case Fenced() | NotAssigned() | TransactionAborted() | TransactionUnknown():
            return type(error)(str(error))
        case _:
            return TransactionAborted(f"the transaction cannot commit: {error}")
