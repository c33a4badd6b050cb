"""Marks in Redis: shared by many processes, apart from what they effect."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast, final
from uuid import uuid4

from streamproof._async.colour import now_s, pause_s
from streamproof.delivery.identity import require_key
from streamproof.delivery.stores.limits import LEASE_S, RETENTION_S, TIMEOUT_S, Limits, require_duration
from streamproof.delivery.stores.marks import Lease
from streamproof.delivery.stores.outcomes import key_is_held, lease_lost, store_closed
from streamproof.delivery.stores.redis import (
    CLAIM,
    CLAIMED,
    DONE,
    FINISH,
    RELEASE,
    AsyncRedisClients,
    is_library_error,
    translated,
)
from streamproof.errors import StreamproofError, Unreachable

if TYPE_CHECKING:
    from streamproof.delivery.stores.redis import AsyncRedis

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1
_UNANSWERED_LIMIT = 10_000


@final
class AsyncRedisStore:
    """Marks that outlive this process, and end with Redis' own memory of them.

    A mark is made before the effect, for ``lease_s``, and confirmed after it, for ``retention_s``. A
    worker that dies in between leaves its effect in doubt: when the lease has run out the record is
    handled again, and the handler is told by :attr:`Lease.is_doubtful`. Redis forgets what its
    persistence settings let it forget (``appendfsync everysec``: about the last second before a crash;
    a fail-over: what was not replicated); the effects of forgotten marks are applied again.
    """

    def __init__(
        self,
        database: "str | AsyncRedis",
        *,
        prefix: str = "streamproof:mark:",
        lease_s: float = LEASE_S,
        retention_s: float = RETENTION_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``database`` is a URL, or a client of the application's (it is not closed here, and its own
        timeouts bound its calls)."""
        require_duration("lease_s", lease_s)
        self._limits = Limits(retention_s, timeout_s)
        self._lease_ms = max(1, round(1000 * lease_s))
        self._retention_ms = max(1, round(1000 * retention_s))
        self._prefix = prefix
        self._is_ours = isinstance(database, str)
        client = AsyncRedisClients.open(database, timeout_s) if isinstance(database, str) else database
        self._client = cast("Any", client)
        self._claim_script = self._client.register_script(CLAIM)
        self._finish_script = self._client.register_script(FINISH)
        self._release_script = self._client.register_script(RELEASE)
        # Tokens of claims that got no answer: if Redis took one, only its token gets the key at once.
        self._unanswered: OrderedDict[str, str] = OrderedDict()
        self._is_closed = False

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[Lease | None]:
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        require_key(key)
        lease = await self._claim(key)
        if lease is None:
            yield None
            return
        try:
            yield lease
        except BaseException as error:
            await self._release(lease, error)
            raise
        await self._finish(lease)

    async def _claim(self, key: str) -> Lease | None:
        token = self._unanswered.pop(key, None) or uuid4().hex
        deadline_s = now_s() + self._limits.timeout_s
        nap_s = _FIRST_PAUSE_S
        while True:
            if self._is_closed:
                raise store_closed()
            try:
                code, number = await self._run(
                    self._claim_script, "marking", key, token, self._lease_ms, self._retention_ms
                )
            except BaseException:
                self._remember_unanswered(key, token)
                raise
            if code == DONE:
                return None
            if code == CLAIMED:
                return Lease(key, token, bool(number))
            left_s = deadline_s - now_s()
            if left_s <= 0:
                raise key_is_held(key, self._limits.timeout_s)
            await pause_s(min(nap_s, left_s, number / 1000))
            nap_s = min(2 * nap_s, _LONGEST_PAUSE_S)

    async def _finish(self, lease: Lease) -> None:
        """Confirm the mark. The effect is applied, so it is worth trying until the bound is over."""
        deadline_s = now_s() + self._limits.timeout_s
        while True:
            try:
                is_ours = await self._run(
                    self._finish_script, "confirming a mark", lease.key, lease.token, self._retention_ms
                )
                break
            except Unreachable as error:
                if now_s() >= deadline_s:
                    raise Unreachable(
                        f"{error}; the effect of {lease.key!r} was applied, its mark may not be confirmed: "
                        f"then it is in doubt when it comes again, after its lease",
                        definite=False,
                    ) from error
                await pause_s(_LONGEST_PAUSE_S)
        if not is_ours:
            raise lease_lost(lease.key)

    async def _release(self, lease: Lease, error: BaseException) -> None:
        """Give the key back. If that fails the lease runs out by itself; what went wrong is ``error``."""
        try:
            await self._run(self._release_script, "giving a lease back", lease.key, lease.token)
        except StreamproofError as failure:
            error.add_note(f"the lease of {lease.key!r} could not be given back, and runs out: {failure}")

    async def _run(self, script: Any, doing: str, key: str, *arguments: object) -> Any:
        try:
            return await script(keys=[self._prefix + key], args=list(arguments))
        except Exception as error:
            if not is_library_error(error):
                raise
            raise translated(error, doing) from error

    def _remember_unanswered(self, key: str, token: str) -> None:
        self._unanswered[key] = token
        while len(self._unanswered) > _UNANSWERED_LIMIT:
            self._unanswered.popitem(last=False)

    async def forget_expired(self) -> int:
        """Nothing to do: Redis drops them by itself."""
        return 0

    async def close(self) -> None:
        """Close the connections that were made here. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_ours:
            with contextlib.suppress(OSError):
                await self._client.aclose()
