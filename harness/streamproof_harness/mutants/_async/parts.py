"""What broken parts have in common: each stands in for a real one and passes on what it does not break."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from streamproof import AsyncDelivery, StreamproofError
from streamproof.driver import AsyncConsumerDriver, AsyncProducerDriver
from streamproof.records import Headers, RawRecord, Receipt
from streamproof_harness.mutants.mutant import Turn, has_mark

_GATHERING_POLLS = 100
_GATHERING_S = 0.01


class Sending(NamedTuple):
    """The arguments of a driver's ``send``."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    partition: int | None
    timestamp_ms: int | None
    timeout_s: float


class AsyncBrokenProducer:
    """A driver's producer. A mutant says in ``strike`` what becomes of the one send that it harms."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        self.inner = inner
        self.turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def send(self, *arguments: Any) -> AsyncDelivery:
        """See the driver."""
        sending = Sending(*arguments)
        is_due = self.turn.count([sending.headers])
        if has_mark(sending.headers) or not is_due or not self.fits(sending):
            return await self.store(sending)
        self.turn.strike()
        return await self.strike(sending)

    def fits(self, sending: Sending) -> bool:
        """Whether this send is one that can be harmed."""
        return True

    async def strike(self, sending: Sending) -> AsyncDelivery:
        """The harm."""
        raise NotImplementedError

    async def store(self, sending: Sending) -> AsyncDelivery:
        """What the real producer does."""
        return await self.inner.send(*sending)


class AsyncBrokenBatches:
    """A driver's producer. A mutant overrides ``send_many``, as transforming processes use it."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        self.inner = inner
        self.turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class AsyncBrokenConsumer:
    """A driver's consumer. A mutant overrides the verb that it harms."""

    def __init__(self, inner: AsyncConsumerDriver, turn: Turn) -> None:
        self.inner = inner
        self.turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class AsyncBrokenPoll(AsyncBrokenConsumer):
    """A driver's consumer. A mutant says in ``strike`` what becomes of the one poll that it harms.

    To have enough to harm it makes one poll of several; members must not come or go meanwhile.
    """

    least = 1
    """Records of one log that the poll must bring."""

    is_ready = True
    """Whether everything else has come about that the harm needs."""

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """See the driver."""
        records = await self.inner.poll(max_records, timeout_s)
        if not self.turn.count(record.headers for record in records) or not self.is_ready:
            return records
        for _ in range(_GATHERING_POLLS):
            if self.fits(records) or len(records) >= max_records:
                break
            more = await self.inner.poll(max_records - len(records), _GATHERING_S)
            records = [*records, *more]
        if not self.fits(records):
            return records
        self.turn.strike()
        return await self.strike(records)

    def fits(self, records: Sequence[RawRecord]) -> bool:
        """Whether these records can be harmed."""
        return len(self.chosen(records)) >= self.least

    def chosen(self, records: Sequence[RawRecord]) -> list[int]:
        """Where the records of the log that has the most of them stand; end marks are left out."""
        logs: dict[Any, list[int]] = {}
        for index, record in enumerate(records):
            if not has_mark(record.headers):
                logs.setdefault(record.topic_partition, []).append(index)
        return max(logs.values(), key=len, default=[])

    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        """The harm."""
        raise NotImplementedError


class AsyncBrokenClient:
    """The consumer that an application holds, or what stands between it and a worker, or the producer
    that takes a worker's dead letters. A mutant overrides the verb that it harms."""

    def __init__(self, inner: Any, turn: Turn) -> None:
        self.inner = inner
        self.turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def harms(self, headers: Headers, *, is_fit: bool = True) -> bool:
        """Counts a record that goes by; true, once, for the one to harm."""
        if not self.turn.count([headers]) or has_mark(headers) or not is_fit:
            return False
        self.turn.strike()
        return True


def settled(answer: Receipt | StreamproofError) -> AsyncDelivery:
    """A delivery with this outcome."""
    delivery = AsyncDelivery()
    delivery.settle(answer)
    return delivery


def changed(
    delivery: AsyncDelivery,
    change: Callable[[Receipt], Receipt | StreamproofError],
    told: AsyncDelivery | None = None,
) -> AsyncDelivery:
    """A delivery (``told``, or a new one) that ends when ``delivery`` does, with what ``change``
    makes of its receipt."""
    answer = AsyncDelivery() if told is None else told

    def tell(ended: AsyncDelivery) -> None:
        if ended.receipt is not None:
            answer.settle(change(ended.receipt))
        elif ended.error is not None:
            answer.settle(ended.error)

    delivery.add_done_callback(tell)
    return answer
