"""THE SEAM: what a backend implements. Everything else is shared above it.

A driver is narrow and honest. It never retries on its own account, never logs and swallows, and
never waits longer than it was told; it classifies what the client library says into
:mod:`streamproof.errors` and keeps the native error as the cause. Serialisation, acknowledgement
bookkeeping, redelivery after a ``nack`` and validation live above.

There are two colours. A driver is native in its own: the blocking Protocols are never implemented
over a hidden event loop, the async ones never over a blocking call. They have the same verbs with
the same contracts, so only the async ones are documented in full; the blocking ones are called
from one thread at a time unless a verb says otherwise.

A minimal backend in one colour is a :class:`Driver` whose ``producer`` and ``consumer`` work; all
that it cannot do, it declares in :class:`~streamproof.capabilities.Capabilities` and refuses with
:class:`~streamproof.errors.Unsupported`. ``streamproof_harness.conformance`` checks both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from streamproof.capabilities import Capabilities
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery, Deliveries, Delivery
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import (
    GroupDescription,
    GroupMembership,
    Headers,
    Position,
    RawOutgoing,
    RawRecord,
    TopicDescription,
    TopicPartition,
    TopicSpec,
    Watermarks,
)


class AsyncProducerDriver(Protocol):
    """Sends records. What it accepted it settles: every delivery ends, also on close."""

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
        """Take one record into the send buffer, waiting for room no longer than ``timeout_s``.

        Without a ``partition`` the record goes to ``murmur2(key) % partitions``, or, without a
        key, to any. Records of one producer to one log are stored in the order of the calls.
        A missing ``timestamp_ms`` is filled with now. Raises :class:`BufferFull` and nothing was
        taken; every other refusal, also one known at once, is the outcome of the delivery.
        """
        ...

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        """Like ``send`` for each of ``records`` in turn, at the lowest cost a record.

        When the buffer stays full until the timeout, the deliveries of the records not taken are
        settled with :class:`BufferFull`; nothing is raised.
        """
        ...

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything taken before this call is settled, or raise :class:`TimedOut`."""
        ...

    async def close(self, timeout_s: float) -> None:
        """Flush within the bound, then let go; what is not settled by then ends as
        :class:`DeliveryUnknown`. A second call does nothing."""
        ...


class AsyncTransactionalProducerDriver(AsyncProducerDriver, Protocol):
    """What ``AsyncDriver.producer`` gives for options with a ``transactional_id``; only where the
    backend ``can_transact``. ``initialise, then any number of (begin, sends and offsets, commit or
    abort)``: who calls keeps that order. ``close`` aborts what is open."""

    async def init_transactions(self, timeout_s: float) -> None:
        """Take the ``transactional_id`` over: an open transaction of its former producer is finished,
        and that producer is fenced. Called once before all other transactional verbs, and again
        after a commit or abort with an unknown outcome: then it puts this producer in order.

        All five raise :class:`Fenced` when a newer producer has taken over, :class:`TransactionAborted`
        when this transaction certainly cannot be committed (now call ``abort_transaction``), and
        :class:`TransactionUnknown` when nobody knows whether the answer would have been yes."""
        ...

    async def begin_transaction(self) -> None:
        """Sends and offsets belong to one transaction from now on."""
        ...

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """The group's next offsets to read are stored when this transaction commits, and not if it
        aborts. With ``has_member_fencing`` it raises :class:`NotAssigned` (the transaction must be
        aborted) for a member that holds one of the logs no longer."""
        ...

    async def commit_transaction(self, timeout_s: float) -> None:
        """Flush, and make everything visible at once, or raise. A send that failed since
        ``begin_transaction`` makes this a :class:`TransactionAborted`."""
        ...

    async def abort_transaction(self, timeout_s: float) -> None:
        """Make sure that nothing of it is ever seen by a read-committed reader. Deliveries that are
        under way end as failed."""
        ...


class AsyncAssignmentListener(Protocol):
    """Told by the driver when logs come and go, only from inside a call into the driver."""

    async def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """``partitions`` is the whole assignment now; ``positions``, where known, where reading
        begins in the logs that are new. Called before any of their records is returned."""
        ...

    async def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """These logs go in an orderly way. They are still held during this call: it can commit
        or ack. Afterwards no record of theirs is returned."""
        ...

    async def on_lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """These logs are gone already and may have another owner: too late to commit."""
        ...


class AsyncConsumerDriver(Protocol):
    """Reads records, in a group or on its own. One task at a time calls into it, but ``ack``,
    ``pause`` and ``resume`` may come from anywhere."""

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        """Begin reading as the options say. Unknown topics raise :class:`UnknownTopic`, unless a
        pattern was given. Without a group every partition is assigned before this returns;
        with one, assignments come to ``listener`` from inside ``poll``. The start ``"latest"`` is
        the end of a log at the moment it is assigned: what is sent after that is read."""
        ...

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """Up to ``max_records``, as soon as there is one; empty when ``timeout_s`` passes first.

        Records of a log come in its order, without gaps, from its position; only of logs that
        are assigned and not paused. Group membership is kept alive between polls for as long as
        ``max_poll_interval_s``. Raises :class:`OffsetOutOfRange` when the position was trimmed
        away: the consumer must ``seek`` before it reads on. The listener runs in here. A cancelled
        poll loses nothing: the next one returns what it would have.
        """
        ...

    async def ack(self, records: Sequence[RawRecord]) -> None:
        """Acknowledge each of these records; only with ``acknowledgement="message"``. Takes the
        acks without waiting for the broker. Raises :class:`NotAssigned` if their log, or the
        connection they came on, is gone (then they will be delivered again)."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Store the group's next offset to read in each log; only with
        ``acknowledgement="offset"``. On return it is stored. Raises :class:`NotAssigned` when the
        group gave a log to another member or the generation is over."""
        ...

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        """The next poll of these assigned logs begins there. A time beyond the last record means
        the end. Raises :class:`NotAssigned`, :class:`OffsetOutOfRange` (now, or from the next
        poll), :class:`Unsupported`."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Return no records of these logs until ``resume``; what was prefetched is kept."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo ``pause``: reading goes on where it stopped."""
        ...

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The logs held now, sorted."""
        ...

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        """The offset the next poll of an assigned log begins at; :class:`Unsupported` without offsets."""
        ...

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        """The group's stored next offsets; ``None`` where nothing was stored."""
        ...

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """First and one-past-last readable offset of each log, asked of the backend now."""
        ...

    async def close(self, timeout_s: float) -> None:
        """Leave the group in an orderly way (``on_revoke`` runs first) within the bound. Commits
        nothing by itself. A second call does nothing. It is called while a poll is under way only
        if that poll did not end within half of the bound."""
        ...


class AsyncMemberDriver(AsyncConsumerDriver, Protocol):
    """What ``AsyncDriver.consumer`` gives for options with a group, where the backend ``can_transact``."""

    def membership(self) -> GroupMembership:
        """Who reads, for a transaction that stores this consumer's progress."""
        ...


class AsyncAdminDriver(Protocol):
    """Topics and groups."""

    async def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        """Create each; on return they can be written and read. :class:`TopicExists` if one is
        there already (whatever its settings); those before it in the list stay created."""
        ...

    async def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        """Delete each with all its records; :class:`UnknownTopic` if one is not there."""
        ...

    async def list_topics(self, timeout_s: float) -> list[str]:
        """Names of the topics, sorted, without the backend's internal ones."""
        ...

    async def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        """One description a name, in order; :class:`UnknownTopic` if one is not there."""
        ...

    async def list_groups(self, timeout_s: float) -> list[str]:
        """Names of the groups that have members or stored progress, sorted."""
        ...

    async def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        """One description a name, in order; an unknown group has state ``"dead"`` and no members."""
        ...

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Trim each log: its first offset becomes the given one. :class:`Unsupported` where the
        backend cannot."""
        ...


class AsyncDriver(Protocol):
    """An open connection to one backend, for coroutines."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do, as declared."""
        ...

    @property
    def native(self) -> Any:
        """The client library's own object, or a mapping of them: the way out of this interface."""
        ...

    async def producer(self, options: ProducerOptions) -> AsyncProducerDriver:
        """A producer, connected; :class:`Unsupported` for an option the backend cannot honour."""
        ...

    async def consumer(self, options: ConsumerOptions) -> AsyncConsumerDriver:
        """A consumer that was not started yet."""
        ...

    async def admin(self) -> AsyncAdminDriver:
        """The admin verbs."""
        ...

    async def close(self, timeout_s: float) -> None:
        """Close what is still open of it; a second call does nothing."""
        ...


class ProducerDriver(Protocol):
    """See :class:`AsyncProducerDriver`. ``send`` may be called from any thread.

    A driver of which each call counts may have two verbs more, for producers without serialisers and
    transactions. ``plain_send(otherwise)`` returns a function that is called in place of the public
    ``Producer.send``, with the same arguments. What it does not take it passes on to ``otherwise``:
    at least whatever is more than a topic, ``bytes`` and a key, and all that is wrong with a record.
    ``plain_send_many(topic, values, keys, timeout_s)`` is ``send_many`` of two lists of equal length.
    """

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> Delivery: ...

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries: ...

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


class TransactionalProducerDriver(ProducerDriver, Protocol):
    """See :class:`AsyncTransactionalProducerDriver`."""

    def init_transactions(self, timeout_s: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None: ...

    def commit_transaction(self, timeout_s: float) -> None: ...

    def abort_transaction(self, timeout_s: float) -> None: ...


class AssignmentListener(Protocol):
    """See :class:`AsyncAssignmentListener`; runs on the thread that called into the driver."""

    def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None: ...

    def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None: ...

    def on_lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None: ...


class ConsumerDriver(Protocol):
    """See :class:`AsyncConsumerDriver`. ``ack``, ``pause`` and ``resume`` may come from any thread."""

    def start(self, listener: AssignmentListener, timeout_s: float) -> None: ...

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]: ...

    def ack(self, records: Sequence[RawRecord]) -> None: ...

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None: ...

    def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None: ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None: ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...

    def assignment(self) -> tuple[TopicPartition, ...]: ...

    def position(self, partition: TopicPartition, timeout_s: float) -> int: ...

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]: ...

    def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]: ...

    def close(self, timeout_s: float) -> None: ...


class MemberDriver(ConsumerDriver, Protocol):
    """See :class:`AsyncMemberDriver`."""

    def membership(self) -> GroupMembership: ...


class AdminDriver(Protocol):
    """See :class:`AsyncAdminDriver`."""

    def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None: ...

    def delete_topics(self, names: Sequence[str], timeout_s: float) -> None: ...

    def list_topics(self, timeout_s: float) -> list[str]: ...

    def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]: ...

    def list_groups(self, timeout_s: float) -> list[str]: ...

    def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]: ...

    def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None: ...


class Driver(Protocol):
    """See :class:`AsyncDriver`."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def native(self) -> Any: ...

    def producer(self, options: ProducerOptions) -> ProducerDriver: ...

    def consumer(self, options: ConsumerOptions) -> ConsumerDriver: ...

    def admin(self) -> AdminDriver: ...

    def close(self, timeout_s: float) -> None: ...
