"""A transaction: sends and a group's progress become visible together, or not at all."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

from streamproof._async.colour import now_s
from streamproof._async.consumer import AsyncConsumer
from streamproof._async.transactions import AsyncTransactions
from streamproof.checks import HeadersLike, as_headers
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.errors import Closed, NotAssigned, StreamproofError, UsageError
from streamproof.records import Outgoing, TopicPartition

if TYPE_CHECKING:
    from streamproof._async.producer import AsyncProducer

_log = logging.getLogger("streamproof.transactions")

_LEAST_S = 0.1

Reader = AsyncConsumer[Any, Any]
Offsets = Mapping[TopicPartition, int]


@final
class AsyncTransaction:
    """One transaction of a producer. Made by ``producer.transaction(…)``, used in a ``with`` statement::

        async with producer.transaction(consumer) as tx:
            for record in records:
                await tx.send("averages", average(record))

    A normal end commits; an exception aborts, and goes on. Whenever it did not commit, the consumers
    that take part read on from their stored progress.
    """

    def __init__(
        self,
        transactions: AsyncTransactions,
        producer: "AsyncProducer[Any, Any]",
        consumers: Sequence[Reader],
        partitions: Sequence[TopicPartition] | None,
        timeout_s: float,
    ) -> None:
        self._transactions = transactions
        self._producer = producer
        self._partitions = partitions
        self._timeout_s = timeout_s
        self._readers: dict[Reader, Offsets | None] = dict.fromkeys(consumers)
        self._losses: dict[Reader, int] = {}
        self._is_open = False

    async def send(
        self,
        topic: str,
        value: Any,
        *,
        key: Any = None,
        headers: HeadersLike = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        timeout_s: float = 30.0,
    ) -> AsyncDelivery:
        """As :meth:`AsyncProducer.send`, in this transaction. That the delivery is acknowledged does not
        mean that the record will be seen: the commit decides."""
        self._require_open()
        self._transactions.observer.sends_begin(
            topic, (Outgoing(value, key, as_headers(headers) if headers else (), partition, timestamp_ms),)
        )
        delivery = await self._producer.send(
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            timeout_s=timeout_s,
        )
        self._transactions.observer.sends_taken((delivery,))
        return delivery

    async def send_many(
        self, topic: str, records: Sequence[Outgoing[Any, Any]], *, timeout_s: float = 30.0
    ) -> AsyncDeliveries:
        """As :meth:`AsyncProducer.send_many`, in this transaction."""
        self._require_open()
        self._transactions.observer.sends_begin(topic, records)
        deliveries = await self._producer.send_many(topic, records, timeout_s=timeout_s)
        self._transactions.observer.sends_taken(deliveries)
        return deliveries

    async def commit_offsets(self, consumer: Reader) -> None:
        """Store with this transaction that the consumer's group has handled everything that was
        handed out to it and not given back. Raises :class:`NotAssigned` when it lost a log: the
        transaction cannot commit then."""
        self._require_open()
        _require_member(consumer)
        if consumer.unsettled_losses != self._losses.get(consumer, consumer.unsettled_losses):
            raise NotAssigned(
                "a log that was read for this transaction went to another member meanwhile, which reads its "
                "records again: nothing made from them may be committed"
            )
        offsets = consumer.take_progress(self._partitions)
        self._readers[consumer] = {**(self._readers.get(consumer) or {}), **offsets}
        if offsets:
            await self._transactions.store(offsets, consumer.membership(), self._timeout_s)

    async def __aenter__(self) -> Self:
        for consumer in self._readers:
            _require_member(consumer)
        await self._transactions.begin(tuple(self._readers), self._timeout_s)
        self._losses = {consumer: consumer.unsettled_losses for consumer in self._readers}
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            await self._abort()
            return
        try:
            for consumer in [reader for reader, offsets in self._readers.items() if offsets is None]:
                await self.commit_offsets(consumer)
        except BaseException:
            await self._abort()
            raise
        self._is_open = False
        try:
            await self._transactions.commit(self._timeout_s)
        except BaseException:
            await self._turn_back(self._readers)
            raise
        for consumer, stored in self._readers.items():
            consumer.settle_progress(stored or {})

    async def _abort(self) -> None:
        """Never raises: what led here is what the caller has to hear."""
        self._is_open = False
        try:
            await self._transactions.abort(self._timeout_s)
        except Closed:
            return  # closing the producer aborts what is open
        except StreamproofError as error:
            _log.warning("a transaction could not be aborted in an orderly way: %s", error)
        await self._turn_back(self._readers)

    async def _turn_back(self, readers: Iterable[Reader]) -> None:
        deadline = now_s() + self._timeout_s
        for consumer in readers:
            try:
                await consumer.turn_back(self._partitions, max(_LEAST_S, deadline - now_s()))
            except StreamproofError as error:
                # Its logs may be gone with the transaction: then it reads them anew when they come.
                _log.warning("a consumer could not go back to its stored progress: %s", error)

    def _require_open(self) -> None:
        if not self._is_open:
            raise UsageError(
                "the transaction is over, or has not begun: use it inside of its with statement only"
            )


def _require_member(consumer: Reader) -> None:
    if not isinstance(consumer, AsyncConsumer):
        raise UsageError(
            f"a {type(consumer).__name__} has no progress to store: give the consumer that read the records"
        )
    if consumer.options.group is None:
        raise UsageError(
            "the consumer has no group, so it has no progress to store: pass group='name' to bus.consumer, "
            "or leave it out of the transaction"
        )
