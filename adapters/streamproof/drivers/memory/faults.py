"""What can go wrong on purpose in an in-memory cluster.

Every request of a producer, consumer or admin asks the cluster's ``faults`` twice: ``before`` it is
applied, and ``after``. An interceptor that answers with an error before makes the request fail with
nothing done; after, the request *was* applied and only its answer is lost. While there are no
interceptors, asking costs one look at an empty list.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from streamproof.errors import DeliveryUnknown, StreamproofError, TimedOut, Unreachable

Api = Literal["produce", "fetch", "commit", "join", "leave", "admin", "init", "add", "offsets", "end"]
"""What a request asks for; ``join`` and ``fetch`` come from a consumer's start and polls. The last four are
of transactions: ``init`` takes a transactional id over, ``add`` comes before the first record to a log,
``offsets`` stores progress, ``end`` commits or aborts."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as interceptors see it. A produce request is one batch to one log."""

    api: Api
    client: str = ""
    group: str | None = None
    topic: str | None = None
    partition: int | None = None


class Interceptor(Protocol):
    """Decides about requests. Called with the cluster locked: it must not block or call back."""

    def before(self, request: Request) -> StreamproofError | None:
        """The error the request fails with, unapplied; ``None`` lets it pass."""
        ...

    def after(self, request: Request) -> StreamproofError | None:
        """The error its sender gets although it was applied; ``None`` lets the answer pass."""
        ...


Added = TypeVar("Added", bound=Interceptor)


class Rule:
    """Fails the requests it matches, ``times`` of them (all, if ``None``), after letting the first
    ``skip`` pass. ``hits`` counts those it failed: whether the fault bit."""

    __slots__ = ("_api", "_error", "_is_after", "_matches", "_skip", "_times", "hits")

    def __init__(
        self,
        api: Api,
        error: Callable[[Request], StreamproofError],
        is_after: bool,
        times: int | None,
        skip: int,
        matches: Callable[[Request], bool],
    ) -> None:
        self.hits = 0
        self._api = api
        self._error = error
        self._is_after = is_after
        self._times = times
        self._skip = skip
        self._matches = matches

    def before(self, request: Request) -> StreamproofError | None:
        """See :class:`Interceptor`."""
        return None if self._is_after else self._decide(request)

    def after(self, request: Request) -> StreamproofError | None:
        """See :class:`Interceptor`."""
        return self._decide(request) if self._is_after else None

    def _decide(self, request: Request) -> StreamproofError | None:
        if request.api != self._api or not self._matches(request):
            return None
        if self._skip > 0:
            self._skip -= 1
            return None
        if self._times is not None and self.hits >= self._times:
            return None
        self.hits += 1
        return self._error(request)


class Cut:
    """No request gets through."""

    def before(self, request: Request) -> StreamproofError | None:
        """See :class:`Interceptor`."""
        return Unreachable(
            "the connection to the in-memory cluster is cut: heal it with cluster.faults.heal()"
        )

    def after(self, request: Request) -> StreamproofError | None:
        """See :class:`Interceptor`."""
        return None


def _always(request: Request) -> bool:
    return True


def _lost_answer(request: Request) -> StreamproofError:
    if request.api == "produce":
        return DeliveryUnknown("the acknowledgement was lost on purpose, after the record was stored")
    return TimedOut(
        f"the answer to a {request.api} was lost on purpose, after it was applied", definite=False
    )


class Faults:
    """The interceptors of one cluster, and short ways to add the usual ones."""

    __slots__ = ("_changed", "interceptors")

    def __init__(self, changed: Callable[[], None]) -> None:
        self.interceptors: list[Interceptor] = []
        self._changed = changed

    def reject(
        self,
        api: Api,
        error: type[StreamproofError],
        *,
        times: int | None = 1,
        skip: int = 0,
        matches: Callable[[Request], bool] = _always,
    ) -> Rule:
        """Fail matching requests with this class of error, with nothing applied."""
        return self.add(
            Rule(api, lambda _: error(f"a {api} rejected on purpose"), False, times, skip, matches)
        )

    def lose_answer(
        self,
        api: Api,
        *,
        times: int | None = 1,
        skip: int = 0,
        matches: Callable[[Request], bool] = _always,
    ) -> Rule:
        """Apply matching requests, and lose the answer: nobody told the client that they were."""
        return self.add(Rule(api, _lost_answer, True, times, skip, matches))

    def cut(self) -> None:
        """Cut every connection: from now on every request raises :class:`Unreachable`, also those
        that wait."""
        if not any(isinstance(interceptor, Cut) for interceptor in self.interceptors):
            self.add(Cut())

    def heal(self) -> None:
        """Take all interceptors away."""
        self.interceptors.clear()
        self._changed()

    def add(self, interceptor: Added) -> Added:
        """Ask this one too, after those that are there. Wakes who waits, so that it takes effect."""
        self.interceptors.append(interceptor)
        self._changed()
        return interceptor

    def ask(self, request: Request) -> None:
        """Raise the error of ``before``, if there is one."""
        error = self.before(request)
        if error is not None:
            raise error

    def hear(self, request: Request) -> None:
        """Raise the error of ``after``, if there is one."""
        error = self.after(request)
        if error is not None:
            raise error

    def before(self, request: Request) -> StreamproofError | None:
        """The first error that an interceptor has for this request."""
        answers = (interceptor.before(request) for interceptor in self.interceptors)
        return next((error for error in answers if error is not None), None)

    def after(self, request: Request) -> StreamproofError | None:
        """The first error that an interceptor has for its answer."""
        answers = (interceptor.after(request) for interceptor in self.interceptors)
        return next((error for error in answers if error is not None), None)
