"""Marks in this process' memory: for tests, and for effects that end with the process themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final
from uuid import uuid4

from streamproof._async.colour import Guard, now_s, pause_s
from streamproof.delivery.identity import require_key
from streamproof.delivery.stores.limits import LEASE_S, RETENTION_S, TIMEOUT_S, Limits, require_duration
from streamproof.delivery.stores.marks import Lease, Marks
from streamproof.delivery.stores.outcomes import key_is_held, lease_lost, store_closed
from streamproof.errors import ConfigurationError

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05


@final
class AsyncMemoryStore:
    """Marks that are gone with the process: after a crash everything counts as new.

    ``lease_s`` is how long one effect may take before another may try it too. At most ``max_marks``
    are kept, the newest, whatever the retention.
    """

    def __init__(
        self,
        *,
        lease_s: float = LEASE_S,
        retention_s: float = RETENTION_S,
        timeout_s: float = TIMEOUT_S,
        max_marks: int = 1_000_000,
    ) -> None:
        require_duration("lease_s", lease_s)
        if type(max_marks) is not int or max_marks < 1:
            raise ConfigurationError(f"max_marks={max_marks!r} is not possible: give 1 or more")
        self._limits = Limits(retention_s, timeout_s)
        self._marks = Marks(lease_s, retention_s, max_marks)
        self._guard = Guard()
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
        except BaseException:
            with self._guard:
                self._marks.release(key, lease.token, now_s())
            raise
        with self._guard:
            is_ours = self._marks.finish(key, lease.token, now_s())
        if not is_ours:
            raise lease_lost(key)

    async def _claim(self, key: str) -> Lease | None:
        token = uuid4().hex
        deadline_s = now_s() + self._limits.timeout_s
        nap_s = _FIRST_PAUSE_S
        while True:
            if self._is_closed:
                raise store_closed()
            with self._guard:
                self._marks.forget(now_s())
                claim = self._marks.claim(key, token, now_s())
            if claim.state == "done":
                return None
            if claim.state == "claimed":
                return Lease(key, token, claim.is_doubtful)
            left_s = deadline_s - now_s()
            if left_s <= 0:
                raise key_is_held(key, self._limits.timeout_s)
            await pause_s(min(nap_s, left_s, claim.held_for_s))
            nap_s = min(2 * nap_s, _LONGEST_PAUSE_S)

    async def forget_expired(self) -> int:
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        with self._guard:
            return self._marks.forget(now_s())

    async def close(self) -> None:
        """Refuse further keys; effects under way are still marked. A second call does nothing."""
        self._is_closed = True
