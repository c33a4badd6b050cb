"""Publishes what an outbox holds: in order, confirmed before it is removed, none lost."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol, final

from streamproof._async.colour import now_s, pause_s
from streamproof.checks import require_count
from streamproof.deliveries import AsyncDelivery
from streamproof.delivery.retry import Retry
from streamproof.delivery.stores.limits import require_duration
from streamproof.delivery.stores.outbox import Order, OutboxRow, require_order, waves
from streamproof.errors import Closed, StreamproofError
from streamproof.records import Headers

_log = logging.getLogger("streamproof.relay")

_LOOK_INTERVAL_S = 0.1
_RETRY = Retry("exponential", max_attempts=20, base_s=0.1, max_delay_s=5.0)


class AsyncOutboxReader(Protocol):
    """The relay's side of an outbox. One task at a time calls it."""

    async def acquire(self) -> bool:
        """Become the one relay of this outbox, or stay it; false if another is. Does not wait."""
        ...

    async def read(self, limit: int) -> Sequence[OutboxRow]:
        """The first rows that are committed and final, in order: no row can appear before them."""
        ...

    async def remove(self, ids: Sequence[int]) -> None:
        """Delete what was published; on return it is stored."""
        ...

    async def release(self) -> None:
        """Let another be the relay. Blocks for a bounded time, and raises nothing."""
        ...


class AsyncOutbox(Protocol):
    """What a relay needs of an outbox."""

    def reader(self) -> AsyncOutboxReader:
        """A new relay's side of it."""
        ...


class AsyncRelaySink(Protocol):
    """What a relay needs of a producer."""

    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        """See :class:`~streamproof.AsyncProducer`."""
        ...


@final
class AsyncRelay:
    """Publishes an outbox through a producer of bytes (``bus.producer()``), again and again.

    A row is removed after its delivery was acknowledged. Dying in between publishes it a second time,
    under the same id (header :data:`~streamproof.delivery.RECORD_ID`): a consumer with ``EffectOnce``
    takes no notice. Any number of relays may run; one works, the others stand by.

    ``order="total"``: a record is sent when the one before it is acknowledged, so that nothing that
    fails can be overtaken. ``order="key"``: records of one key (and topic) are kept in order, others
    are under way together: many times faster, where keys are many.
    """

    def __init__(
        self,
        outbox: AsyncOutbox,
        producer: AsyncRelaySink,
        *,
        order: Order = "total",
        max_records: int = 100,
        poll_interval_s: float = 0.2,
        delivery_timeout_s: float = 30.0,
        retry: Retry | None = None,
    ) -> None:
        """``max_records`` are read, and after a crash published again, at once. ``retry`` tells how long
        a retriable error is tried again in ``run`` without any progress, before it is raised."""
        require_order(order)
        require_count("max_records", max_records)
        require_duration("poll_interval_s", poll_interval_s)
        require_duration("delivery_timeout_s", delivery_timeout_s)
        self._reader = outbox.reader()
        self._producer = producer
        self._order: Order = order
        self._max_records = max_records
        self._poll_interval_s = poll_interval_s
        self._delivery_timeout_s = delivery_timeout_s
        self._retry = retry or _RETRY
        self._published = 0
        self._is_stopping = False
        self._is_closed = False

    def stop(self) -> None:
        """Let ``run`` return after the batch in hand; from any thread, task or signal handler."""
        self._is_stopping = True

    async def run(self) -> None:
        """Publish until ``stop``. Raises what cannot be retried, such as a record that the broker
        refuses (its row stays, and nothing overtakes it), and what was retried in vain."""
        failures = 0
        while not self._is_stopping:
            before = self._published
            try:
                published = await self.run_once()
            except StreamproofError as error:
                failures = 1 if self._published > before else failures + 1
                if failures >= self._retry.max_attempts or not self._retry.is_retriable(error):
                    raise
                _log.warning("the relay tries again: %s", error)
                await self._rest(self._retry.delay(failures, "relay"))
                continue
            failures = 0
            if published < self._max_records:
                await self._rest(self._poll_interval_s)

    async def run_once(self) -> int:
        """Publish one batch; returns how many records that were: none where another is the relay.
        What was published before an error is removed nevertheless."""
        if self._is_closed:
            raise Closed("the relay is closed: make a new one")
        if not await self._reader.acquire():
            return 0
        rows = await self._reader.read(self._max_records)
        published: list[int] = []
        try:
            await self._publish(rows, published)
        finally:
            if published:
                await self._reader.remove(published)
                self._published += len(published)
        return len(published)

    async def close(self) -> None:
        """Let another be the relay; a second call does nothing. The producer stays open."""
        if not self._is_closed:
            self._is_closed = self._is_stopping = True
            await self._reader.release()

    async def _publish(self, rows: Sequence[OutboxRow], published: list[int]) -> None:
        """Send wave by wave; a lane in which one failed is left alone, and the first error raised."""
        failure: StreamproofError | None = None
        failed_lanes: set[object] = set()
        for wave in waves(rows, self._order):
            under_way: list[tuple[OutboxRow, AsyncDelivery]] = []
            for row in wave:
                if row.lane in failed_lanes:
                    continue
                try:
                    delivery = await self._producer.send(
                        row.topic, row.value, key=row.key, headers=row.headers
                    )
                    under_way.append((row, delivery))
                except StreamproofError as error:
                    failure = failure or _told(error, row)
                    failed_lanes.add(row.lane)
            for row, delivery in under_way:
                try:
                    await delivery.result(self._delivery_timeout_s)
                    published.append(row.id)
                except StreamproofError as error:
                    failure = failure or _told(error, row)
                    failed_lanes.add(row.lane)
            if failure is not None and self._order == "total":
                break
        if failure is not None:
            raise failure

    async def _rest(self, duration_s: float) -> None:
        """Wait, and look meanwhile whether to stop."""
        until_s = now_s() + duration_s
        while not self._is_stopping and (left_s := until_s - now_s()) > 0:
            await pause_s(min(left_s, _LOOK_INTERVAL_S))


def _told(error: StreamproofError, row: OutboxRow) -> StreamproofError:
    error.add_note(f"{row.described}, was not published: it stays there, and nothing overtakes it")
    return error
