"""Deliveries of the in-memory backend: settled before anybody can ask, receipts made on demand."""

from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any, Generic, TypeVar, cast, final, overload

from streamproof.deliveries import AsyncDeliveries, AsyncDelivery, Deliveries, Delivery
from streamproof.errors import StreamproofError
from streamproof.records import RawRecord, Receipt, Record

Answer = RawRecord | StreamproofError
"""What became of a record: as it is stored, or why it is not."""

Outcomes = Sequence[Receipt | StreamproofError]
"""What became of a batch, record by record."""

D = TypeVar("D", Delivery, AsyncDelivery)


def _receipt_of(answer: object) -> Receipt | None:
    """The receipt of a stored record; of a receipt, itself; of an error, none."""
    if isinstance(answer, Record):
        assert answer.offset is not None
        return Receipt(answer.topic, answer.partition, answer.offset, answer.timestamp_ms)
    return answer if isinstance(answer, Receipt) else None


@final
class MemoryDelivery(Delivery):
    """A delivery that was settled when it was made."""

    __slots__ = ()

    def __init__(self, answer: Answer | Receipt) -> None:
        self._answer = cast("Receipt", answer)
        self._callbacks = None

    @property
    def receipt(self) -> Receipt | None:
        """See :class:`Delivery`."""
        receipt = _receipt_of(self._answer)
        if receipt is not None:
            self._answer = receipt
        return receipt

    def __repr__(self) -> str:
        _ = self.receipt  # which shows no payload, as the record would
        return super().__repr__()

    def result(self, timeout_s: float | None = 30.0) -> Receipt:
        """See :class:`Delivery`."""
        return self.receipt or super().result(timeout_s)


@final
class AsyncMemoryDelivery(AsyncDelivery):
    """A delivery that was settled when it was made."""

    __slots__ = ()

    def __init__(self, answer: Answer | Receipt) -> None:
        self._answer = cast("Receipt", answer)
        self._callbacks = None

    @property
    def receipt(self) -> Receipt | None:
        """See :class:`AsyncDelivery`."""
        receipt = _receipt_of(self._answer)
        if receipt is not None:
            self._answer = receipt
        return receipt

    def __repr__(self) -> str:
        _ = self.receipt  # which shows no payload, as the record would
        return super().__repr__()

    def __await__(self) -> Generator[Any, None, Receipt]:
        _ = self.receipt  # puts the receipt where the record was
        return super().__await__()


class Receipts(Sequence[Receipt]):
    """The receipts of a batch that was stored as a whole, made when somebody asks for them."""

    __slots__ = ("_bases", "_made", "_partitions", "_times", "_topic")

    def __init__(
        self, topic: str, partitions: list[int], bases: dict[int, int], times: int | list[int]
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._bases = bases
        self._times = times
        self._made: list[Receipt] | None = None

    def all(self) -> list[Receipt]:
        """The receipts, in the order of the records."""
        if self._made is None:
            following = {partition: count(base) for partition, base in self._bases.items()}
            times = self._times
            stamps = times if isinstance(times, list) else [times] * len(self._partitions)
            self._made = [
                Receipt(self._topic, partition, next(following[partition]), time)
                for partition, time in zip(self._partitions, stamps, strict=True)
            ]
        return self._made

    def __len__(self) -> int:
        return len(self._partitions)

    @overload
    def __getitem__(self, index: int) -> Receipt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Receipt]: ...
    def __getitem__(self, index: int | slice) -> Receipt | Sequence[Receipt]:
        return self.all()[index]


class _OnDemand(Sequence[D], Generic[D]):
    """Deliveries, each made when it is asked for."""

    __slots__ = ("_make", "_outcomes")

    def __init__(self, outcomes: Outcomes, make: Callable[[Receipt | StreamproofError], D]) -> None:
        self._outcomes = outcomes
        self._make: Callable[[Receipt | StreamproofError], D] = make

    def __len__(self) -> int:
        return len(self._outcomes)

    @overload
    def __getitem__(self, index: int) -> D: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[D]: ...
    def __getitem__(self, index: int | slice) -> D | Sequence[D]:
        if isinstance(index, slice):
            return _OnDemand(self._outcomes[index], self._make)
        return self._make(self._outcomes[index])


def _errors_of(outcomes: Outcomes) -> list[StreamproofError]:
    if isinstance(outcomes, Receipts):
        return []
    return [outcome for outcome in outcomes if isinstance(outcome, StreamproofError)]


def _receipts_of(outcomes: Outcomes) -> list[Receipt]:
    """The receipts, or the first error raised."""
    if isinstance(outcomes, Receipts):
        return list(outcomes.all())
    receipts: list[Receipt] = []
    for outcome in outcomes:
        if isinstance(outcome, StreamproofError):
            raise outcome
        receipts.append(outcome)
    return receipts


@final
class MemoryDeliveries(Deliveries):
    """Deliveries that were all settled before anybody could ask."""

    __slots__ = ("_outcomes",)

    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__(_OnDemand(outcomes, MemoryDelivery))
        self._outcomes = outcomes

    @property
    def is_settled(self) -> bool:
        """See :class:`Deliveries`."""
        return True

    @property
    def errors(self) -> list[StreamproofError]:
        """See :class:`Deliveries`."""
        return _errors_of(self._outcomes)

    def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        """See :class:`Deliveries`."""
        return _receipts_of(self._outcomes)


@final
class AsyncMemoryDeliveries(AsyncDeliveries):
    """Deliveries that were all settled before anybody could ask."""

    __slots__ = ("_outcomes",)

    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__(_OnDemand(outcomes, AsyncMemoryDelivery))
        self._outcomes = outcomes

    @property
    def is_settled(self) -> bool:
        """See :class:`AsyncDeliveries`."""
        return True

    @property
    def errors(self) -> list[StreamproofError]:
        """See :class:`AsyncDeliveries`."""
        return _errors_of(self._outcomes)

    async def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        """See :class:`AsyncDeliveries`."""
        return _receipts_of(self._outcomes)
