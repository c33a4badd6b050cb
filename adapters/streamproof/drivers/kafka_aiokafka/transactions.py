"""Transactions over aiokafka.

Of aiokafka's own transactions only the numbers of records and the waiting for partitions are used:
its states cannot be left after an error, its waits have no bound, and an answer that it does not
expect ends its sender. The coordinators are asked here (see :mod:`.coordination`).

Nothing tells a coordinator that the member whose progress it stores still holds the logs
(TxnOffsetCommit v0): ``has_member_fencing`` is false.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import errors as native_errors
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionManager

from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.drivers.kafka.group import require_member
from streamproof.drivers.kafka.transactions import (
    cannot_commit,
    certain,
    no_answer,
    overdue,
    refused,
    unseen,
)
from streamproof.drivers.kafka_aiokafka.admin import AiokafkaAdmin
from streamproof.drivers.kafka_aiokafka.batches import Batch, CarefulSender, Ledger
from streamproof.drivers.kafka_aiokafka.client import Deadline, ended
from streamproof.drivers.kafka_aiokafka.coordination import Answer, Coordination, Identity, Unanswered
from streamproof.drivers.kafka_aiokafka.producer import AiokafkaProducer
from streamproof.drivers.kafka_aiokafka.settings import Settings
from streamproof.errors import BackendError, Closed, Fenced, NotAssigned, StreamproofError, TimedOut
from streamproof.options import ProducerOptions
from streamproof.records import GroupMembership, Headers, RawOutgoing, TopicPartition

_log = logging.getLogger("streamproof.kafka")

_DOUBT_S = 30.0
"""How long an unanswered commit or abort is asked about before the id is taken over all the same."""

_CONNECT_S = 10.0
_LEAST_S = 0.5
_LOOK_S = 0.01

# Few of the insides have types.
_Manager: Any = TransactionManager


class _Numbers(_Manager):  # type: ignore[misc]
    """aiokafka's numbering of batches, and the logs that are to join the transaction: while one of
    those is in ``partitions_to_add``, aiokafka's sender holds its batches back."""

    def maybe_add_partition_to_txn(self, log: TopicPartition) -> None:
        if log not in self._txn_partitions:
            self._pending_txn_partitions.add(log)
            self.notify_task_waiter()

    def joined(self, logs: frozenset[TopicPartition]) -> None:
        """The coordinator knows of these."""
        self._pending_txn_partitions.difference_update(logs)
        self._txn_partitions.update(logs)

    def refused(self, logs: frozenset[TopicPartition]) -> None:
        """The coordinator does not take these."""
        self._pending_txn_partitions.difference_update(logs)

    def begin(self) -> None:
        """Nothing has joined."""
        self._txn_partitions.clear()

    def take(self, identity: Identity) -> None:
        """Number from 0 in every log, under this identity."""
        self._pid_and_epoch = PidAndEpoch(*identity)
        self._sequence_numbers.clear()
        if not self._pid_waiter.done():
            self._pid_waiter.set_result(None)

    def fatal_error(self, failure: BaseException) -> None:
        """aiokafka's word that its sender has ended; its batches have failed already."""


class _Sender(CarefulSender):
    """Sends once the producer has an identity, and tells the coordinator of new logs before."""

    join: Callable[[frozenset[TopicPartition]], Any]

    async def _maybe_wait_for_pid(self) -> None:
        if self._sender_task is not None:
            await self._txn_manager.wait_for_pid()

    def _maybe_do_transactional_request(self) -> "asyncio.Task[None] | None":
        logs = frozenset(self._txn_manager.partitions_to_add())
        if not logs:
            return None
        task: asyncio.Task[None] = asyncio.ensure_future(self.join(logs))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class _Ledger(Ledger):
    """Knows whether a send failed in this transaction: then it cannot commit, so that no failed
    record of it will be seen by readers of committed ones, wherever it stands."""

    failure: StreamproofError | None = None
    """The first, since the transaction began."""
    is_aborting: bool = False
    """Whether records fail because they are taken back."""
    is_out_of_step: bool = False
    """Whether the broker may count on from numbers that were given up."""

    def fail(self, batch: Batch, failure: Callable[[], StreamproofError]) -> None:
        place = f"{batch.tp.topic}[{batch.tp.partition}]"
        if self.is_aborting:
            super().fail(batch, lambda: unseen(place, "taken back by the abort"))
            return
        self.note(certain(failure(), place))
        super().fail(batch, lambda: certain(failure(), place))

    def note(self, failure: StreamproofError) -> None:
        """This send, or what it needed, failed."""
        self.failure = self.failure or failure

    def settle_numbers(self, batch: Batch, *, is_certain: bool) -> None:
        if is_certain:
            super().settle_numbers(batch, is_certain=True)
        elif batch.retry_count:
            self.is_out_of_step = True


class TransactionalSender(AiokafkaProducer):
    """One of aiokafka's producers, and what it has sent in the open transaction."""

    def __init__(
        self,
        settings: Settings,
        options: ProducerOptions,
        admin: AiokafkaAdmin,
    ) -> None:
        super().__init__(settings, options, admin, lambda _: None)
        assert options.transactional_id is not None
        self._longest_s = options.transaction_timeout_s
        self._ledger.__class__ = _Ledger
        self._sender.__class__ = _Sender
        numbers: Any = self.native._txn_manager
        numbers.__class__ = _Numbers
        self._numbers: _Numbers = numbers
        sender: Any = self._sender
        sender.join = self._join
        self.coordination = Coordination(self.native.client, options.transactional_id)
        self.identity: Identity | None = None
        self.has_joined = False
        """Whether the coordinator may know of something in the open transaction."""

    @property
    def ledger(self) -> _Ledger:
        """What became of the records."""
        assert isinstance(self._ledger, _Ledger)
        return self._ledger

    @property
    def is_reusable(self) -> bool:
        """Whether it can go on under another identity."""
        is_running = self._accumulator.fatal is None and not self._is_closed
        return is_running and not self._ledger.batches and not self._numbers.partitions_to_add()

    def take(self, identity: Identity) -> None:
        """Go on under this identity."""
        self.identity = identity
        self.ledger.is_out_of_step = False
        self._numbers.take(identity)

    def begin(self) -> None:
        """A transaction begins."""
        self.ledger.failure = None
        self.ledger.is_aborting = self.has_joined = False
        self._numbers.begin()

    # -- sending ---------------------------------------------------------------------------

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> AsyncDelivery:
        """See the Protocol."""
        delivery = await super().send(topic, value, key, headers, partition, timestamp_ms, timeout_s)
        self._note_refusal(delivery)
        return delivery

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        """See the Protocol."""
        deliveries = await super().send_many(topic, records, timeout_s)
        for delivery in deliveries:
            self._note_refusal(delivery)
        return deliveries

    def _note_refusal(self, delivery: AsyncDelivery) -> None:
        # Of what was taken, the batch's fate tells; these here were not.
        if type(delivery) is AsyncDelivery and delivery.error is not None:
            self.ledger.note(delivery.error)

    async def _join(self, logs: frozenset[TopicPartition]) -> None:
        """Runs beside the sender, which would end if this raised something."""
        assert self.identity is not None
        self.has_joined = True
        try:
            answer = await self.coordination.add_logs(self.identity, logs, Deadline(self._longest_s))
        except Unanswered as cause:
            _log.debug("logs have not joined the transaction yet: %s", cause)
            return
        if not answer.code:
            self._numbers.joined(logs)
            return
        self._numbers.refused(logs)
        what = f"{', '.join(f'{log.topic}[{log.partition}]' for log in sorted(logs))} cannot join"
        self.ledger.note(refused(answer.code, what, answer.reason))
        self._give_back(logs, native_errors.for_code(answer.code)())

    def _give_back(self, logs: frozenset[TopicPartition] | None, error: BaseException) -> None:
        """Fail what waits to be sent to these logs, or to any."""
        for batch in list(self._ledger.batches):
            if logs is None or batch.tp in logs:
                self._accumulator.give_up(batch, error)

    # -- ends ------------------------------------------------------------------------------

    async def is_flushed(self, timeout_s: float) -> bool:
        """Wait until every record has its outcome; whether all have one."""
        return await self._is_flushed(timeout_s)

    async def is_emptied(self, deadline: Deadline) -> bool:
        """Take back what waits to be sent, and wait for the rest, and for logs that are joining;
        whether nothing is under way any more."""
        self.ledger.is_aborting = True
        while True:
            # Again and again: what comes back unanswered is not to be sent once more.
            self._give_back(None, native_errors.KafkaError())
            if not self._ledger.batches and not self._numbers.partitions_to_add():
                return True
            if deadline.is_over or self._accumulator.fatal is not None:
                return False
            await self._ledger.changed(min(deadline.left_s, _LOOK_S))

    async def _end(self, deadline: Deadline) -> None:
        self.ledger.is_aborting = True
        joining = [task for task in self._sender.tasks if not self._ledger.batches]
        await ended(joining, _LEAST_S)
        await super()._end(deadline)


class AiokafkaTransactionalProducer:
    """See :class:`~streamproof.driver.AsyncTransactionalProducerDriver`. ``native`` changes when the
    producer is put in order after something that never ended."""

    def __init__(
        self,
        settings: Settings,
        options: ProducerOptions,
        admin: AiokafkaAdmin,
        closed: "Callable[[AiokafkaTransactionalProducer], None]",
    ) -> None:
        self._settings = settings
        self._options = options
        self._admin = admin
        self._closed = closed
        self._sender = self._made()
        self._began_s: float | None = None
        self._failure: StreamproofError | None = None
        self._fenced: Fenced | None = None
        self._in_doubt: bool | None = None
        """Whether the ending without an answer was a commit."""
        self._doubted_s = 0.0
        self._is_closed = False

    @property
    def native(self) -> Any:
        """The library's producer now."""
        return self._sender.native

    async def connect(self, timeout_s: float) -> None:
        """See :meth:`AiokafkaProducer.connect`."""
        await self._sender.connect(timeout_s)

    # -- sending ---------------------------------------------------------------------------

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> AsyncDelivery:
        """See the Protocol."""
        return await self._sender.send(topic, value, key, headers, partition, timestamp_ms, timeout_s)

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        """See the Protocol."""
        return await self._sender.send_many(topic, records, timeout_s)

    async def flush(self, timeout_s: float) -> None:
        """See the Protocol."""
        await self._sender.flush(timeout_s)

    # -- transactions ----------------------------------------------------------------------

    async def init_transactions(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._require_usable()
        deadline = Deadline(timeout_s)
        if self._in_doubt is not None:
            await self._ask_again(self._in_doubt, deadline)
        if not self._sender.is_reusable:
            await self._renew(deadline)
        await self._initialise(deadline)
        self._in_doubt = self._began_s = self._failure = None

    async def _initialise(self, deadline: Deadline) -> None:
        what = f"the producer was not initialised within {deadline.timeout_s} s"
        timeout_ms = int(self._settings["transaction_timeout_ms"])
        try:
            answer = await self._sender.coordination.initialise(timeout_ms, deadline)
        except Unanswered as cause:
            raise TimedOut(f"{what}: {cause}; try again later", definite=False) from cause
        if answer.identity is None:
            raise self._refused(answer, "the producer cannot be initialised")
        self._sender.take(answer.identity)

    async def begin_transaction(self) -> None:
        """See the Protocol."""
        self._require_usable()
        if self._sender.identity is None or self._sender.native._message_accumulator.fatal is not None:
            raise BackendError("no transaction can begin: the producer was not initialised, or has stopped")
        self._sender.begin()
        self._failure = None
        self._began_s = time.monotonic()

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """See the Protocol."""
        self._require_usable()
        self._require_sound()
        if not offsets:
            return
        what = f"the progress of group {member.group} does not join the transaction"
        # Until it is known to be there, the transaction cannot commit.
        self._failure = NotAssigned(f"{what}: the call was interrupted")
        try:
            require_member(member)
            await self._add_offsets(offsets, member.group, what, Deadline(timeout_s))
        except StreamproofError as error:
            self._failure = error
            raise
        self._failure = None

    async def _add_offsets(
        self, offsets: Mapping[TopicPartition, int], group: str, what: str, deadline: Deadline
    ) -> None:
        self._sender.has_joined = True
        try:
            answer = await self._sender.coordination.add_offsets(self._identity, group, offsets, deadline)
        except Unanswered as cause:
            raise cannot_commit(f"{what}: no answer within {deadline.timeout_s} s ({cause})") from cause
        if answer.code:
            raise self._refused(answer, what)

    async def commit_transaction(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._require_usable()
        deadline = Deadline(timeout_s)
        if not await self._sender.is_flushed(deadline.left_s):
            self._failure = self._failure or TimedOut(
                f"{self._sender.ledger.records} of its records have no outcome after {timeout_s} s"
            )
        self._require_sound()
        await self._end(True, deadline)

    async def abort_transaction(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._require_usable()
        deadline = Deadline(timeout_s)
        self._in_doubt, self._doubted_s = False, time.monotonic()
        if not await self._sender.is_emptied(deadline):
            raise no_answer(False, timeout_s, "records are under way")
        await self._end(False, deadline)
        if self._sender.ledger.is_out_of_step:
            self._in_doubt = False
            await self._initialise(deadline)
            self._in_doubt = None

    async def _end(self, is_commit: bool, deadline: Deadline) -> None:
        """From here on the coordinator's answer alone tells how it ends."""
        if self._sender.has_joined:
            self._in_doubt, self._doubted_s = is_commit, time.monotonic()
            try:
                answer = await self._sender.coordination.end(self._identity, is_commit, deadline)
            except Unanswered as cause:
                raise no_answer(is_commit, deadline.timeout_s, str(cause)) from cause
            self._in_doubt = None
            if answer.code:
                raise self._unended(is_commit, answer)
        self._in_doubt = self._began_s = None

    def _unended(self, is_commit: bool, answer: Answer) -> StreamproofError:
        found = self._refused(answer, f"the transaction was not {'committed' if is_commit else 'aborted'}")
        if not is_commit and not isinstance(found, Fenced):
            return no_answer(False, self._options.transaction_timeout_s, answer.reason)
        return found

    # -- putting it in order ---------------------------------------------------------------

    async def _ask_again(self, is_commit: bool, deadline: Deadline) -> None:
        """Ask once more to end it, for half of the time: the answer would tell, too, that a newer
        producer has taken over, from whom initialising would take the id back. Raises :class:`Fenced`
        if it does, and :class:`TimedOut` while it is worth waiting for."""
        if self._sender.has_joined and self._sender.identity is not None:
            try:
                half = Deadline(deadline.left_s / 2)
                answer = await self._sender.coordination.end(self._sender.identity, is_commit, half)
            except Unanswered as cause:
                if time.monotonic() - self._doubted_s < _DOUBT_S:
                    what = f"the former transaction has no answer yet after {deadline.timeout_s} s"
                    raise TimedOut(f"{what}: {cause}; try again later", definite=False) from cause
            else:
                found = self._refused(answer, "the former transaction was not ended") if answer.code else None
                if isinstance(found, Fenced):
                    raise found
        self._in_doubt = None

    def _made(self) -> TransactionalSender:
        return TransactionalSender(dict(self._settings), self._options, self._admin)

    async def _renew(self, deadline: Deadline) -> None:
        """Put a new instance in the old one's place, which has records under way without an end."""
        renewed, former = self._made(), self._sender
        try:
            await renewed.connect(max(_LEAST_S, min(_CONNECT_S, deadline.left_s)))
        except BaseException:
            await renewed.close(0.0)
            raise
        self._sender = renewed
        await former.close(0.0)

    # -- the end ---------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """See the Protocol."""
        if self._is_closed:
            return
        deadline = Deadline(timeout_s)
        if self._began_s is not None and self._fenced is None and self._in_doubt is None:
            try:
                await self.abort_transaction(timeout_s / 2)
            except StreamproofError as error:
                _log.info("the open transaction was not aborted on closing: %s", error)
        self._is_closed = True
        await self._sender.close(deadline.left_s)
        self._closed(self)

    # -- inside ----------------------------------------------------------------------------

    @property
    def _identity(self) -> Identity:
        assert self._sender.identity is not None
        return self._sender.identity

    def _refused(self, answer: Answer, what: str) -> StreamproofError:
        """What a refusal means; a fencing is remembered."""
        cause = native_errors.for_code(answer.code)()
        found = refused(answer.code, what, answer.reason, cause, was_first=answer.was_first)
        if isinstance(found, Fenced):
            self._fenced = found = self._explained(found)
        return found

    def _explained(self, fenced: Fenced) -> Fenced:
        open_s = 0.0 if self._began_s is None else time.monotonic() - self._began_s
        text = f"{fenced}{overdue(open_s, self._options.transaction_timeout_s)}"
        found = Fenced(text, definite=fenced.definite)
        found.__cause__ = fenced.__cause__
        return found

    def _require_usable(self) -> None:
        if self._is_closed:
            raise Closed("the producer is closed: make a new one")
        if self._fenced is not None:
            raise self._fenced

    def _require_sound(self) -> None:
        """Raise if something in this transaction failed."""
        failure = self._failure or self._sender.ledger.failure
        if isinstance(failure, Fenced):
            self._fenced = self._explained(failure)
            raise self._fenced
        if failure is not None:
            raise cannot_commit(failure) from failure
