"""Deliveries whose receipts name the topic as the application does, over a driver's own ones."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, overload

from streamproof.deliveries import AsyncDeliveries, AsyncDelivery, Deliveries, Delivery, Outcome, Settlement
from streamproof.errors import StreamproofError
from streamproof.records import Receipt

Rename = Callable[[Receipt], Receipt]


class _Renamed(Settlement):
    """All answers are those of the inner delivery; only receipts are changed on the way."""

    __slots__ = ()

    _inner: Any
    _rename: Rename

    @property
    def is_settled(self) -> bool:
        return bool(self._inner.is_settled)

    @property
    def outcome(self) -> Outcome:
        outcome: Outcome = self._inner.outcome
        return outcome

    @property
    def error(self) -> StreamproofError | None:
        error: StreamproofError | None = self._inner.error
        return error

    @property
    def receipt(self) -> Receipt | None:
        receipt = self._inner.receipt
        return None if receipt is None else self._rename(receipt)

    def settle(self, answer: Receipt | StreamproofError) -> None:
        self._inner.settle(answer)

    def __repr__(self) -> str:
        return repr(self._inner)


class NamespacedDelivery(_Renamed, Delivery):
    """For threads."""

    __slots__ = ("_inner", "_rename")

    def __init__(self, inner: Delivery, rename: Rename) -> None:
        super().__init__()
        self._inner = inner
        self._rename = rename

    def add_done_callback(self, callback: Callable[[Delivery], object]) -> None:
        self._inner.add_done_callback(lambda _: callback(self))

    def result(self, timeout_s: float | None = 30.0) -> Receipt:
        return self._rename(self._inner.result(timeout_s))


class AsyncNamespacedDelivery(_Renamed, AsyncDelivery):
    """For coroutines."""

    __slots__ = ("_inner", "_rename")

    def __init__(self, inner: AsyncDelivery, rename: Rename) -> None:
        super().__init__()
        self._inner = inner
        self._rename = rename

    def add_done_callback(self, callback: Callable[[AsyncDelivery], object]) -> None:
        self._inner.add_done_callback(lambda _: callback(self))

    def __await__(self) -> Generator[Any, None, Receipt]:
        return self._rename((yield from self._inner.__await__()))

    async def result(self, timeout_s: float | None = 30.0) -> Receipt:
        return self._rename(await self._inner.result(timeout_s))


class NamespacedDeliveries(Deliveries):
    """For threads. The inner batch may make its deliveries only when asked; so does this one."""

    __slots__ = ("_inner", "_rename")

    def __init__(self, inner: Deliveries, rename: Rename) -> None:
        super().__init__(inner)
        self._inner = inner
        self._rename = rename

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | Sequence[Delivery]:
        if isinstance(index, slice):
            return [NamespacedDelivery(inner, self._rename) for inner in self._inner[index]]
        return NamespacedDelivery(self._inner[index], self._rename)

    def __iter__(self) -> Iterator[Delivery]:
        return (NamespacedDelivery(inner, self._rename) for inner in self._inner)

    @property
    def is_settled(self) -> bool:
        return self._inner.is_settled

    @property
    def errors(self) -> list[StreamproofError]:
        return self._inner.errors

    def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        return list(map(self._rename, self._inner.result(timeout_s)))


class AsyncNamespacedDeliveries(AsyncDeliveries):
    """For coroutines."""

    __slots__ = ("_inner", "_rename")

    def __init__(self, inner: AsyncDeliveries, rename: Rename) -> None:
        super().__init__(inner)
        self._inner = inner
        self._rename = rename

    @overload
    def __getitem__(self, index: int) -> AsyncDelivery: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AsyncDelivery]: ...
    def __getitem__(self, index: int | slice) -> AsyncDelivery | Sequence[AsyncDelivery]:
        if isinstance(index, slice):
            return [AsyncNamespacedDelivery(inner, self._rename) for inner in self._inner[index]]
        return AsyncNamespacedDelivery(self._inner[index], self._rename)

    def __iter__(self) -> Iterator[AsyncDelivery]:
        return (AsyncNamespacedDelivery(inner, self._rename) for inner in self._inner)

    @property
    def is_settled(self) -> bool:
        return self._inner.is_settled

    @property
    def errors(self) -> list[StreamproofError]:
        return self._inner.errors

    async def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        return list(map(self._rename, await self._inner.result(timeout_s)))
