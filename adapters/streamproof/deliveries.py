"""What became of a send: acknowledged, certainly failed, or unknown.

``Delivery`` is held by threads, ``AsyncDelivery`` by coroutines; both are settled once, by the
driver. Drivers may subclass them to read the client library's own answer only when asked.
"""

import asyncio
import logging
import threading
import time
from abc import ABCMeta
from collections.abc import Callable, Generator, Iterator, Sequence
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from streamproof.errors import StreamproofError, TimedOut
from streamproof.records import Receipt

_log = logging.getLogger("streamproof.delivery")

_callback_lists = threading.Lock()
"""Held for moments only, to hand a list of callbacks over; one lock a delivery would cost more."""


class Outcome(Enum):
    """The state of a send. ``UNKNOWN`` may have been stored, or not: nobody can tell."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Settlement:
    """The outcome of one send, settled once; reading it never blocks. How its two fields are kept
    is up to the classes below."""

    if TYPE_CHECKING:
        __slots__ = ("_answer", "_callbacks")
    else:
        __slots__ = ()

    _answer: Receipt | StreamproofError | None
    _callbacks: list[Callable[[Any], object]] | None

    @property
    def is_settled(self) -> bool:
        """Whether the outcome is known to be final."""
        return self._answer is not None

    @property
    def outcome(self) -> Outcome:
        """The state now."""
        answer = self._answer
        if answer is None:
            return Outcome.PENDING
        if isinstance(answer, StreamproofError):
            return Outcome.FAILED if answer.definite else Outcome.UNKNOWN
        return Outcome.ACKNOWLEDGED

    @property
    def error(self) -> StreamproofError | None:
        """Why it failed or became unknown; ``None`` while pending and when acknowledged."""
        answer = self._answer
        return answer if isinstance(answer, StreamproofError) else None

    @property
    def receipt(self) -> Receipt | None:
        """Where the record stands; ``None`` unless acknowledged."""
        answer = self._answer
        return None if isinstance(answer, StreamproofError) else answer

    def settle(self, answer: Receipt | StreamproofError) -> None:
        """Set the outcome and run the callbacks. For drivers; a second call is ignored."""
        if self._answer is not None:
            return
        self._answer = answer
        if self._callbacks is not None:
            self._run_callbacks()

    def _run_callbacks(self) -> None:
        with _callback_lists:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:
                # It runs on the driver's thread or loop, which has others to serve.
                _log.exception("a callback of a delivery failed")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.outcome.value} {self._answer or ''}>"


class Delivery(Settlement, metaclass=ABCMeta):
    """The outcome of a blocking producer's send. Callbacks run on the thread that settles it.

    A driver whose deliveries have another layout in memory registers their class here.
    """

    __slots__ = ("_answer", "_callbacks")

    def __init__(self) -> None:
        self._answer = None
        self._callbacks = None

    def add_done_callback(self, callback: Callable[["Delivery"], object]) -> None:
        """Call ``callback(delivery)`` once settled; at once if it is. What it raises is logged."""
        with _callback_lists:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
        # Settling writes the answer before it looks for callbacks, so one of the two sees the other.
        if self._answer is not None:
            self._run_callbacks()

    def result(self, timeout_s: float | None = 30.0) -> Receipt:
        """Wait for the outcome and return the receipt.

        Raises the error of a failed or unknown send, and :class:`TimedOut` (not definite: it is
        still under way) when the bound passes first.
        """
        if self._answer is None:
            self._wait(timeout_s)
        answer = self._answer
        if answer is None:
            raise TimedOut(f"no outcome within {timeout_s} s; the send is still under way", definite=False)
        if isinstance(answer, StreamproofError):
            raise answer
        return answer

    def _wait(self, timeout_s: float | None) -> None:
        """Block until settled or the bound passes. Drivers that must be driven override it."""
        settled = threading.Event()
        self.add_done_callback(lambda _: settled.set())
        settled.wait(timeout_s)


class AsyncDelivery(Settlement):
    """The outcome of an async producer's send; ``await delivery`` gives the receipt or raises.

    It is settled on the event loop of its producer and must be awaited there.
    """

    __slots__ = ("_answer", "_callbacks")

    def __init__(self) -> None:
        self._answer = None
        self._callbacks = None

    def add_done_callback(self, callback: Callable[["AsyncDelivery"], object]) -> None:
        """Call ``callback(delivery)`` once settled; at once if it is. What it raises is logged."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        if self._answer is not None:
            self._run_callbacks()

    def _future(self) -> asyncio.Future[None]:
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: "AsyncDelivery") -> None:
            if not settled.done():
                settled.set_result(None)

        self.add_done_callback(wake)
        return settled

    def __await__(self) -> Generator[Any, None, Receipt]:
        if self._answer is None:
            settled = self._future()
            yield from settled
        answer = self._answer
        if isinstance(answer, StreamproofError):
            raise answer
        assert answer is not None
        return answer

    async def result(self, timeout_s: float | None = 30.0) -> Receipt:
        """Like ``await delivery``, with a bound."""
        if self._answer is None:
            settled = self._future()
            await asyncio.wait([settled], timeout=timeout_s)
            if self._answer is None:
                raise TimedOut(
                    f"no outcome within {timeout_s} s; the send is still under way", definite=False
                )
        return await self


D = TypeVar("D", Delivery, AsyncDelivery)

_is_settled, _error = attrgetter("is_settled"), attrgetter("error")


class _Batch(Sequence[D], Generic[D]):
    """The deliveries of one ``send_many``, in its order."""

    __slots__ = ("_deliveries",)

    _deliveries: Sequence[D]

    def __init__(self, deliveries: Sequence[D]) -> None:
        self._deliveries = deliveries

    def __len__(self) -> int:
        return len(self._deliveries)

    @overload
    def __getitem__(self, index: int) -> D: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[D]: ...
    def __getitem__(self, index: int | slice) -> D | Sequence[D]:
        return self._deliveries[index]

    def __iter__(self) -> Iterator[D]:
        return iter(self._deliveries)

    @property
    def is_settled(self) -> bool:
        """Whether every one of them is settled."""
        return all(map(_is_settled, self))

    @property
    def errors(self) -> list[StreamproofError]:
        """The errors so far of those that failed or became unknown, in order."""
        return [error for error in map(_error, self) if error is not None]


class Deliveries(_Batch[Delivery]):
    """The deliveries of one blocking ``send_many``."""

    __slots__ = ()

    def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        """Wait for all of them; raises the first error in order once all are settled, or TimedOut."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for delivery in self:
            if not delivery.is_settled:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    delivery.result(left)
                except StreamproofError:
                    if not delivery.is_settled:
                        raise
        return [delivery.result(0) for delivery in self]


class AsyncDeliveries(_Batch[AsyncDelivery]):
    """The deliveries of one async ``send_many``."""

    __slots__ = ()

    async def result(self, timeout_s: float | None = 30.0) -> list[Receipt]:
        """Wait for all of them; raises the first error in order once all are settled, or TimedOut."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        for delivery in self:
            if not delivery.is_settled:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                try:
                    await delivery.result(left)
                except StreamproofError:
                    if not delivery.is_settled:
                        raise
        return [await delivery for delivery in self]
