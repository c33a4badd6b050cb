"""Read, process, write, exactly once: the loop around transactions."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, final

from streamproof._async.colour import apply_each, now_s, pause_s
from streamproof._async.consumer import AsyncConsumer
from streamproof._async.producer import AsyncProducer
from streamproof.errors import (
    Fenced,
    NotAssigned,
    StreamproofError,
    TransactionAborted,
    TransactionUnknown,
)
from streamproof.records import Record, TopicPartition
from streamproof.routing import Outputs, by_log, by_topic, doubtful_fence, require_transform

_log = logging.getLogger("streamproof.transform")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_FENCED_S = 60.0
"""How long a log may stay assigned here after somebody else has fenced its producer."""

_ONCE_MORE = (TransactionAborted, TransactionUnknown, NotAssigned)


async def atransform(
    consumer: AsyncConsumer[Any, Any],
    fn: Callable[[Record[Any, Any]], Outputs | Awaitable[Outputs]],
    producer: AsyncProducer[Any, Any],
    *,
    to: str | None = None,
    max_records: int = 500,
    workers: int = 1,
    idle_timeout_s: float | None = None,
) -> int:
    """Run an :class:`AsyncTransform` until no record came for ``idle_timeout_s`` (without it, for ever);
    returns the number of records that were read, each of them with its outputs exactly once."""
    loop = AsyncTransform(consumer, fn, producer, to=to, max_records=max_records, workers=workers)
    return await loop.run(idle_timeout_s)


@final
class AsyncTransform:
    """Polls, calls ``fn`` on each record, and sends what it returns in one transaction with the
    progress: for read-committed readers of the outputs each input counts exactly once, whatever crashes.

    ``fn`` returns nothing, one output or several: an :class:`Outgoing` to the topic ``to``, or a pair of
    a topic and an :class:`Outgoing`. It must have no other effects: it is called again for records
    whose transaction did not commit. What it raises aborts, and is raised by ``run``. With
    ``workers`` above one it is called on so many records of a batch at a time; outputs keep the
    order of their inputs.

    Consumer and producer are its own while it runs. Where a backend does not fence members
    (``has_member_fencing``), each input log has a producer of its own besides, whose transactional id
    is ``<id>-<topic>-<partition>``: whoever gets a log first fences its former owner, then reads the
    stored progress. Instances that share the work share the id then; elsewhere each instance has an
    id of its own.

    Raises :class:`UsageError` for a consumer without a group or one that reads uncommitted records,
    and for a producer without a ``transactional_id``.
    """

    def __init__(
        self,
        consumer: AsyncConsumer[Any, Any],
        fn: Callable[[Record[Any, Any]], Outputs | Awaitable[Outputs]],
        producer: AsyncProducer[Any, Any],
        *,
        to: str | None = None,
        max_records: int = 500,
        workers: int = 1,
        max_failures: int = 20,
    ) -> None:
        require_transform(consumer.options, producer.transactional_id, max_records, workers)
        self._consumer = consumer
        self._fn = fn
        self._producer = producer
        self._to = to
        self._max_records = max_records
        self._workers = workers
        self._max_failures = max_failures
        self._failures = 0
        self._owners: dict[TopicPartition, tuple[int, AsyncProducer[Any, Any]]] = {}
        self._fenced: dict[TopicPartition, tuple[int, float]] = {}
        self._is_stopping = False

    def stop(self) -> None:
        """Let ``run`` return after the transaction in hand; from any thread, task or signal handler."""
        self._is_stopping = True

    async def run(self, idle_timeout_s: float | None = None) -> int:
        """Go on until ``stop``, or until no record came for ``idle_timeout_s``; the number of records."""
        done = 0
        last_s = now_s()
        try:
            while not self._is_stopping:
                count = await self.run_once()
                done += count
                if count:
                    last_s = now_s()
                elif idle_timeout_s is not None and now_s() - last_s >= idle_timeout_s:
                    break
        finally:
            await self.close()
        return done

    async def run_once(self, timeout_s: float = 0.5) -> int:
        """One poll, and what it brings; the number of records that are done. Failures that end with
        nothing done are taken for the moment and tried again, ``max_failures`` times in a row."""
        try:
            records = await self._consumer.poll(self._max_records, timeout_s)
            if self._consumer.capabilities.has_member_fencing:
                done = await self._transact(self._producer, records, None) if records else 0
            else:
                done = await self._transact_each(records)
        except StreamproofError as error:
            if not (error.retriable or isinstance(error, _ONCE_MORE)):
                raise
            await self._pause_after(error)
            return 0
        self._failures = 0
        return done

    async def close(self) -> None:
        """Let the producers of single logs go. ``run`` does it; who calls ``run_once`` by itself does it
        at the end. Consumer and producer stay open."""
        await self._release(tuple(self._owners))

    async def _transact(
        self,
        producer: AsyncProducer[Any, Any],
        records: Sequence[Record[Any, Any]],
        partitions: Iterable[TopicPartition] | None,
    ) -> int:
        async with producer.transaction(self._consumer, partitions=partitions) as tx:
            outputs = await apply_each(self._fn, records, self._workers)
            for topic, batch in by_topic(outputs, self._to).items():
                await tx.send_many(topic, batch)
        return len(records)

    async def _pause_after(self, error: StreamproofError) -> None:
        self._failures += 1
        if self._failures > self._max_failures:
            raise error
        _log.info("a transaction did not commit, its records are read again: %s", error)
        await pause_s(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._failures - 1)))

    # -- one producer for each input log -----------------------------------------------------

    async def _transact_each(self, records: Sequence[Record[Any, Any]]) -> int:
        fresh = await self._take_over()
        done = 0
        waiting = dict(by_log(records))
        try:
            while waiting:
                partition = next(iter(waiting))
                batch = waiting.pop(partition)
                owner = self._owners.get(partition)
                if owner is None or partition in fresh:
                    continue  # read again, from the progress that stands now
                try:
                    done += await self._transact(owner[1], batch, (partition,))
                except Fenced as error:
                    await self._leave_to_another(partition, error)
        finally:
            # One has failed: those behind it were handed out and are not done.
            self._consumer.owe(waiting)
        return done

    async def _take_over(self) -> set[TopicPartition]:
        """Make a producer for each log that came (anew), which fences its former owner's, and go to
        what the former owner stored: before that, it may have stored more than we read."""
        tenures = dict(self._consumer.tenures)
        await self._release([place for place in self._owners if place not in tenures])
        fresh = set()
        for partition, tenure in tenures.items():
            if self._owns(partition, tenure) or self._is_fenced(partition, tenure):
                continue
            await self._release((partition,))
            name = f"{self._producer.transactional_id}-{partition.topic}-{partition.partition}"
            self._owners[partition] = (tenure, await self._producer.sibling(name))
            fresh.add(partition)
        if fresh:
            await self._consumer.turn_back(tuple(fresh), _FENCED_S, is_taken_over=True)
        return fresh

    def _owns(self, partition: TopicPartition, tenure: int) -> bool:
        owner = self._owners.get(partition)
        return owner is not None and owner[0] == tenure

    def _is_fenced(self, partition: TopicPartition, tenure: int) -> bool:
        """Whether another has this log's producer since this tenure began: we shall lose it soon."""
        fenced = self._fenced.get(partition)
        if fenced is None or fenced[0] != tenure:
            self._fenced.pop(partition, None)
            return False
        if now_s() - fenced[1] > _FENCED_S:
            raise doubtful_fence(partition, self._producer.transactional_id, _FENCED_S)
        return True

    async def _leave_to_another(self, partition: TopicPartition, error: Fenced) -> None:
        _log.info("%s[%d] has another owner: %s", partition.topic, partition.partition, error)
        tenure = self._owners[partition][0]
        self._fenced[partition] = (tenure, now_s())
        await self._release((partition,))

    async def _release(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            owner = self._owners.pop(partition, None)
            if owner is not None:
                try:
                    await owner[1].close()
                except StreamproofError as error:
                    _log.info("the producer of a log that went did not close in order: %s", error)
