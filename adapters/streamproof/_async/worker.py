"""A handler on a consumer: retries in the record's lane, then the dead-letter topic."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, final

from streamproof.deliveries import AsyncDelivery
from streamproof.delivery.dead_letters import DeadLetterHeaders
from streamproof.delivery.retry import Retry
from streamproof.delivery.work import WorkObserver
from streamproof.errors import Closed, NotAssigned
from streamproof.records import Headers, Record

_log = logging.getLogger("streamproof.worker")

_NO_RETRY = Retry("fixed", max_attempts=1, base_s=0.0)


class AsyncWorkSource(Protocol):
    """What a worker needs of a consumer."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        """See :class:`~streamproof.AsyncConsumer`; so for the others."""
        ...

    async def ack(self, record: Record[Any, Any]) -> None: ...

    async def nack(self, record: Record[Any, Any], delay_s: float) -> None: ...

    async def commit(self) -> None: ...

    def is_held(self, record: Record[Any, Any]) -> bool: ...


class AsyncWorkSink(Protocol):
    """What a worker needs of the producer that takes its dead letters."""

    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        """See :class:`~streamproof.AsyncProducer`."""
        ...


@final
class AsyncWorker:
    """Polls, handles, acknowledges: each record after its handler returned (at-least-once).

    A handler that raises is retried as ``retry`` says, in its lane: what comes after it in the
    lane waits, other lanes go on (``order="key"`` makes a lane of each key). When the attempts
    are used up, or the error is not retriable, the record goes to ``dead_letter`` on
    ``producer`` with its key, value and headers unchanged and the cause beside them, and is
    acknowledged once it stands there. Without a dead-letter topic the error is raised by ``run``.

    ``acknowledges="before"`` turns the order round: acknowledge, store, then handle. That is
    at-most-once: a crash in between loses the record. ``"never"`` is for readers without a group.
    """

    def __init__(
        self,
        consumer: AsyncWorkSource,
        handler: Callable[[Record[Any, Any]], Awaitable[object]],
        *,
        group: str = "",
        retry: Retry | None = None,
        dead_letter: str | None = None,
        producer: AsyncWorkSink | None = None,
        observer: WorkObserver | None = None,
        acknowledges: Literal["after", "before", "never"] = "after",
        max_records: int = 500,
    ) -> None:
        self._consumer = consumer
        self._handler = handler
        self._group = group
        self._retry = retry or _NO_RETRY
        self._dead_letter = dead_letter
        self._producer = producer
        self._observer = observer or WorkObserver()
        self._acknowledges = acknowledges
        self._max_records = max_records
        self._is_stopping = False

    def stop(self) -> None:
        """Let ``run`` return after the record in hand; from any thread, task or signal handler."""
        self._is_stopping = True

    async def run(self, timeout_s: float = 0.5) -> None:
        """Work until ``stop``; look for it at least every ``timeout_s``."""
        while not self._is_stopping:
            await self.run_once(timeout_s)

    async def run_once(self, timeout_s: float = 0.5) -> int:
        """Handle what one poll brings; returns the number of records that it brought."""
        records = await self._consumer.poll(self._max_records, timeout_s)
        given_back: set[object] = set()
        for record in records:
            if self._is_stopping:
                break
            if given_back and self._consumer.is_held(record):
                continue
            if not await self._work_on(record):
                given_back.add(record.topic_partition)
        return len(records)

    async def _work_on(self, record: Record[Any, Any]) -> bool:
        """Handle one record; false if it was given back."""
        if self._acknowledges == "before":
            await self._acknowledge(record)
            await self._consumer.commit()
        self._observer.handling(record)
        try:
            await self._handler(record)
        except Exception as error:
            self._observer.failed(record, error)
            if self._acknowledges == "before":
                _log.warning("a record failed and is lost: it was acknowledged before it was handled")
                return True
            return await self._after_failure(record, error)
        self._observer.handled(record)
        if self._acknowledges == "after":
            await self._acknowledge(record)
        return True

    async def _after_failure(self, record: Record[Any, Any], error: Exception) -> bool:
        if record.attempt < self._retry.max_attempts and self._retry.is_retriable(error):
            delay_s = self._retry.delay(record.attempt, f"{record.topic}/{record.partition}/{record.offset}")
            try:
                await self._consumer.nack(record, delay_s)
            except NotAssigned:
                _log.info("a failed record belongs to another member by now, which gets it again")
            self._observer.retrying(record, delay_s)
            return False
        if self._dead_letter is None or self._producer is None:
            raise error
        origin = DeadLetterHeaders(
            record.topic, record.partition, self._group, type(error).__name__, record.attempt, record.offset
        )
        delivery = await self._producer.send(
            self._dead_letter, record.value, key=record.key, headers=origin.added_to(record.headers)
        )
        await delivery.result()
        self._observer.died(record, self._dead_letter, error)
        await self._acknowledge(record)
        return True

    async def _acknowledge(self, record: Record[Any, Any]) -> None:
        self._observer.acknowledging(record)
        try:
            await self._consumer.ack(record)
        except (NotAssigned, Closed):
            self._observer.acknowledged(record, False)
        else:
            self._observer.acknowledged(record, True)
