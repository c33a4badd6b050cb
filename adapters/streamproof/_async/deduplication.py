"""One effect for each record, however often it is delivered: a handler over a store of marks."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar, final

from streamproof.delivery.identity import record_identity, require_scope, scoped
from streamproof.records import Record

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AsyncDeduplicationStore(Protocol[T_co]):
    """Remembers which effects were applied. One small interface over two kinds of store:

    * the *application's own database* (SQLite, PostgreSQL): ``T`` is a connection inside a transaction
      that the mark is written in, so that mark and effect are committed together or not at all;
    * a store *apart* from what is effected (memory, Redis): ``T`` is a
      :class:`~streamproof.delivery.Lease`, a mark that is made before the effect for a limited time, and
      confirmed after it. A crash in between leaves the effect in doubt: such a store cannot decide.

    For all of them: of two that ask for one key at the same time, one gets it and the other waits.
    """

    def once(self, key: str) -> AbstractAsyncContextManager[T_co | None]:
        """Enter to ask for the key: what to apply the effect with, or ``None`` for a duplicate.

        Leaving normally makes the mark final; on return it is stored. Leaving by an exception takes it
        back, and raises that exception. Entering blocks while another has the key, for the store's
        bound, and then raises :class:`TimedOut` (retriable, nothing was done), as it raises
        :class:`Unreachable` for a store that does not answer. Leaving raises, when it is not known
        whether the mark was stored, an error that is not definite and is retriable: do it again from
        the beginning, and the mark, if it is there, tells.
        """
        ...

    async def forget_expired(self) -> int:
        """Drop marks that are older than the store's retention; returns how many. It needs no
        calling: stores do it by themselves, a few at a time."""
        ...

    async def close(self) -> None:
        """Let go of connections; a second call does nothing."""
        ...


@final
class AsyncEffectOnce(Generic[T]):
    """A handler whose effect is applied once for each record, to be given to an ``AsyncWorker``.

    ``handler`` is called with the record and with what the store gives (see
    :class:`AsyncDeduplicationStore`), and applies the effect with it. When it returns, the record is
    marked; a record that is marked already is skipped. When it raises, nothing is marked.

    ``scope`` names the effect, commonly the group: two groups that share a store each have their own.
    ``key`` tells what makes two records one and the same; see
    :func:`~streamproof.delivery.record_identity` for the default.
    """

    def __init__(
        self,
        store: AsyncDeduplicationStore[T],
        handler: Callable[[Record[Any, Any], T], Awaitable[object]],
        *,
        scope: str,
        key: Callable[[Record[Any, Any]], str] = record_identity,
    ) -> None:
        require_scope(scope)
        self._store = store
        self._handler = handler
        self._scope = scope
        self._key = key

    async def __call__(self, record: Record[Any, Any]) -> bool:
        """Apply the effect of this record; false if it had been applied before."""
        async with self._store.once(scoped(self._scope, self._key(record))) as transaction:
            if transaction is None:
                return False
            await self._handler(record, transaction)
        return True


def effect_once(
    store: AsyncDeduplicationStore[T],
    *,
    scope: str,
    key: Callable[[Record[Any, Any]], str] = record_identity,
) -> Callable[[Callable[[Record[Any, Any], T], Awaitable[object]]], AsyncEffectOnce[T]]:
    """:class:`AsyncEffectOnce` as a decorator of the handler."""

    def decorate(handler: Callable[[Record[Any, Any], T], Awaitable[object]]) -> AsyncEffectOnce[T]:
        return AsyncEffectOnce(store, handler, scope=scope, key=key)

    return decorate
