"""The producer that applications hold."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, final

from streamproof._async.consumer import AsyncConsumer
from streamproof._async.transaction import AsyncTransaction
from streamproof._async.transactions import AsyncTransactions
from streamproof.checks import (
    HeadersLike,
    as_bytes,
    as_headers,
    as_outgoing,
    as_partitions,
    plain_columns,
    require_place,
    require_topic_name,
)
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.driver import AsyncProducerDriver, AsyncTransactionalProducerDriver
from streamproof.errors import Closed, UsageError
from streamproof.observer import ProducerObserver
from streamproof.records import Outgoing, TopicPartition
from streamproof.refusals import vanish
from streamproof.serialization import Encode

K = TypeVar("K")
V = TypeVar("V")


@final
class AsyncProducer(Generic[K, V]):
    """Sends records. Records of one key, or to one partition, are stored in the order of the sends.

    With the default options every record is acknowledged by all in-sync replicas, and the
    client's own retries cannot double it where the backend has idempotence.
    """

    def __init__(
        self,
        driver: AsyncProducerDriver,
        encode_key: Encode | None,
        encode_value: Encode | None,
        transactional_id: str | None = None,
        observer: ProducerObserver | None = None,
        sibling: Callable[[str], Awaitable["AsyncProducer[K, V]"]] | None = None,
    ) -> None:
        self._driver = driver
        self._transactions: AsyncTransactions | None = None
        if transactional_id is not None:
            able = cast("AsyncTransactionalProducerDriver", driver)
            self._transactions = AsyncTransactions(able, transactional_id, observer or ProducerObserver())
        self._transactional_id = transactional_id
        self._sibling = sibling
        self._encode_key = encode_key
        self._encode_value = encode_value
        self._is_closed = False
        self._plain_send_many: Callable[..., Awaitable[AsyncDeliveries]] | None = None
        if transactional_id is None and encode_key is None and encode_value is None:
            self._take_plain_verbs()

    def _take_plain_verbs(self) -> None:
        """Some drivers have shorter ways for records as they are. That of ``send`` comes back to it
        with all others. Looked for in the class: what wraps a driver has to see every record."""
        verbs = type(self._driver)
        if hasattr(verbs, "plain_send"):
            self.send = verbs.plain_send(self._driver, self.send)  # type: ignore[method-assign]
        if hasattr(verbs, "plain_send_many"):
            self._plain_send_many = partial(verbs.plain_send_many, self._driver)

    async def send(
        self,
        topic: str,
        value: V | None,
        *,
        key: K | None = None,
        headers: HeadersLike = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        timeout_s: float = 30.0,
    ) -> AsyncDelivery:
        """Take one record for sending, and return its delivery: acknowledged, certainly failed or
        unknown. Does not wait for the outcome; it waits, at most ``timeout_s``, only while the send
        buffer is full, and then raises :class:`BufferFull` (nothing was taken). ``value`` may be
        ``None``: a tombstone. Without ``partition`` the key decides (murmur2, as in Kafka)."""
        if self._is_closed:
            raise _closed()
        if self._transactions is not None:
            self._transactions.require_open()
        raw_value: Any = value if self._encode_value is None else self._encode_value(value)
        raw_key: Any = key if self._encode_key is None else self._encode_key(key)
        if type(raw_value) is not bytes and raw_value is not None:
            raw_value = as_bytes(raw_value, "value")
        if type(raw_key) is not bytes and raw_key is not None:
            raw_key = as_bytes(raw_key, "key")
        if type(topic) is not str or not topic:
            require_topic_name(topic)
        if partition is not None or timestamp_ms is not None:
            require_place(partition, timestamp_ms)
        return await self._driver.send(
            topic,
            raw_value,
            raw_key,
            as_headers(headers) if headers else (),
            partition,
            timestamp_ms,
            timeout_s,
        )

    async def send_many(
        self,
        topic: str,
        records: Sequence[Outgoing[V | None, K | None] | tuple[K | None, V | None] | V],
        *,
        timeout_s: float = 30.0,
    ) -> AsyncDeliveries:
        """Send many at the lowest cost a record, in order. Each is an :class:`Outgoing`, a
        ``(key, value)`` pair or a value. A record that no longer fits into the buffer within
        ``timeout_s`` has a delivery that failed with :class:`BufferFull`."""
        if self._is_closed:
            raise _closed()
        if self._transactions is not None:
            self._transactions.require_open()
        require_topic_name(topic)
        if self._plain_send_many is not None:
            columns = plain_columns(records)
            if columns is not None:
                return await self._plain_send_many(topic, *columns, timeout_s)
        raw = as_outgoing(records, self._encode_key, self._encode_value)
        return await self._driver.send_many(topic, raw, timeout_s)

    async def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything sent before is settled, well or badly: look at the deliveries.
        Raises :class:`TimedOut` when some are still under way."""
        if self._is_closed:
            raise _closed()
        await self._driver.flush(timeout_s)

    # -- transactions ----------------------------------------------------------------------

    def transaction(
        self,
        *consumers: AsyncConsumer[Any, Any],
        partitions: Iterable[TopicPartition] | None = None,
        timeout_s: float = 60.0,
    ) -> AsyncTransaction:
        """A transaction, to be used in a ``with`` statement: what is sent in it becomes visible to
        read-committed readers when it ends normally, all at once, and never if it does not.

        The ``consumers`` take part: what they handed out counts as handled when it commits, and they
        read it again when it does not; of each, all logs or the given ``partitions`` only.
        ``timeout_s`` bounds each call to the broker. At the end it raises

        * :class:`TransactionAborted`: nothing of it will be seen. Do it again.
        * :class:`TransactionUnknown`: the answer never came. The consumers stand where the stored
          progress says; what was read from no consumer may have to be done again, or not.
        * :class:`Fenced`: another producer has this ``transactional_id`` now. Close this one.
        * :class:`NotAssigned`: a consumer lost a log to another member; aborted.

        Raises :class:`UsageError` without a ``transactional_id``, and inside of another transaction.
        """
        if self._is_closed:
            raise _closed()
        chosen = None if partitions is None else as_partitions(partitions)
        return AsyncTransaction(self.transactions, self, consumers, chosen, timeout_s)

    @property
    def transactions(self) -> AsyncTransactions:
        """The state of its transactions, for :class:`AsyncTransaction`."""
        if self._transactions is None:
            raise UsageError(
                "this producer has no transactions: pass transactional_id='…' to bus.producer, a name "
                "that is this instance's own and stays the same when it is started again"
            )
        return self._transactions

    @property
    def transactional_id(self) -> str | None:
        """The name under which its transactions are kept, if it has them."""
        return self._transactional_id

    async def sibling(self, transactional_id: str) -> "AsyncProducer[K, V]":
        """Another producer with the same settings and another ``transactional_id``."""
        if self._sibling is None:
            raise UsageError("only a producer made by bus.producer has siblings")
        return await self._sibling(transactional_id)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def close(self, timeout_s: float = 30.0) -> None:
        """Flush within the bound, then let go; what is not settled by then is unknown. A second
        call does nothing."""
        if not self._is_closed:
            self._end()
            await self._driver.close(timeout_s)

    def vanish(self) -> None:
        """Let go without a word, as a crash of the process would: nothing is flushed, an open
        transaction stays open until the broker gives it up. See :meth:`AsyncConsumer.vanish`."""
        self._end()
        vanish(self._driver)

    def _end(self) -> None:
        self._is_closed = True
        self.__dict__.pop("send", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _closed() -> Closed:
    return Closed("the producer is closed: make a new one with bus.producer(…)")
