"""Marks in the application's own PostgreSQL database, committed together with the effect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

from streamproof._async.colour import now_s
from streamproof._async.postgresql_connections import AsyncPostgresqlConnections
from streamproof.delivery.identity import require_key
from streamproof.delivery.stores.limits import (
    FORGET_BATCH,
    FORGET_INTERVAL_S,
    RETENTION_S,
    TIMEOUT_S,
    Limits,
)
from streamproof.delivery.stores.outcomes import (
    commit_unknown,
    error_swallowed,
    key_is_held,
    store_closed,
    transaction_ended,
)
from streamproof.delivery.stores.postgresql import (
    FAILED,
    IDLE,
    INSIDE,
    UNDEFINED_TABLE,
    PostgresqlMarks,
    bound_waits,
    has_answer,
    import_psycopg,
    is_library_error,
    is_lock_timeout,
    is_lost,
    lock_timeout,
    transaction_status,
    translated,
)
from streamproof.errors import StreamproofError, Unreachable

if TYPE_CHECKING:
    from streamproof.delivery.stores.postgresql import AsyncConnection, AsyncPostgresqlDatabase


@final
class AsyncPostgresqlStore:
    """Mark and effect in one PostgreSQL transaction: both or neither, whenever the process dies.

    ``once`` gives a psycopg connection inside a transaction: whatever is done with it is part of the
    transaction. The mark stands in it first, so another who has the same key waits at it until this
    transaction ends, for ``timeout_s`` (``lock_timeout`` of the transaction). The handler neither
    begins nor commits; ``connection.transaction()`` inside of it makes a savepoint.
    """

    def __init__(
        self,
        database: "AsyncPostgresqlDatabase",
        *,
        table: str = "streamproof_marks",
        retention_s: float = RETENTION_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``database`` is a URL, or a function that lends connections, as the ``connection`` method
        of a pool does. The table is created when it is first needed. Of connections made here the
        store's own statements are bounded by ``timeout_s``; lent ones have bounds of their own."""
        import_psycopg()
        self._limits = Limits(retention_s, timeout_s)
        self._marks = PostgresqlMarks(table)
        self._connections = AsyncPostgresqlConnections(database, timeout_s)
        self._is_prepared = False
        self._forget_at_s = 0.0

    @asynccontextmanager
    async def once(self, key: str) -> "AsyncIterator[AsyncConnection | None]":
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        require_key(key)
        await self._keep_house()
        connection, transaction, is_new = await self._begin(key)
        try:
            if not is_new:
                await self._roll_back(connection, transaction, None)
                yield None
                return
            try:
                bound_waits(connection, None)
                yield connection
                self._require_whole(connection, key)
            except BaseException as error:
                await self._roll_back(connection, transaction, error)
                raise
            await self._commit(connection, transaction, key)
        finally:
            await self._connections.give_back(connection)

    async def forget_expired(self) -> int:
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        forgotten = 0
        while (batch := await self._forget_batch()) > 0:
            forgotten += batch
        return forgotten

    async def close(self) -> None:
        """Close the connections; those in use when their effect is committed. Twice is harmless."""
        await self._connections.close()

    async def _begin(self, key: str) -> "tuple[AsyncConnection, Any, bool]":
        """A transaction with the mark in it, and whether the mark is new."""
        await self._prepare()
        while True:
            connection, is_fresh = await self._connections.take()
            bound_waits(connection, self._limits.timeout_s)
            transaction = connection.transaction()
            is_begun = False
            try:
                await transaction.__aenter__()
                is_begun = True
                timeout = lock_timeout(self._limits.timeout_s)
                marked = await connection.execute(self._marks.insert.encode(), (timeout, key))
                return connection, transaction, marked.rowcount == 1
            except BaseException as error:
                if is_begun:
                    await self._roll_back(connection, transaction, error)
                elif not connection.closed:
                    await connection.close()
                await self._connections.give_back(connection)
                if not is_library_error(error):
                    raise
                if is_lost(error) and not is_fresh:
                    continue
                if is_lock_timeout(error):
                    raise key_is_held(key, self._limits.timeout_s) from error
                raise self._failed(error, "marking") from error

    def _require_whole(self, connection: "AsyncConnection", key: str) -> None:
        """The transaction is still the one that holds the mark, and can be committed."""
        status = transaction_status(connection)
        if status == INSIDE:
            return
        if status == FAILED:
            raise error_swallowed(key)
        if status == IDLE:
            raise transaction_ended(key)
        raise Unreachable(
            f"the connection was lost in the handler of {key!r}, which went on as if it had not: nothing was "
            f"stored; do it again"
        )

    async def _commit(self, connection: "AsyncConnection", transaction: Any, key: str) -> None:
        bound_waits(connection, self._limits.timeout_s)
        try:
            await transaction.__aexit__(None, None, None)
        except Exception as error:
            if not is_library_error(error):
                raise
            if has_answer(error):
                raise translated(error, f"committing the effect of {key!r}") from error
            raise commit_unknown(key) from error

    async def _roll_back(
        self, connection: "AsyncConnection", transaction: Any, error: BaseException | None
    ) -> None:
        """Undo everything. Where that fails the connection is closed, and the server undoes it."""
        bound_waits(connection, self._limits.timeout_s)
        if connection.closed:
            return
        try:
            reason = error or import_psycopg().Rollback()
            await transaction.__aexit__(type(reason), reason, None)
        finally:
            if transaction_status(connection) != IDLE:
                await connection.close()

    def _failed(self, error: BaseException, doing: str) -> StreamproofError:
        """If the table is gone it is looked for, and made, before the next attempt."""
        if getattr(error, "sqlstate", None) == UNDEFINED_TABLE:
            self._is_prepared = False
        return translated(error, doing)

    async def _prepare(self) -> None:
        if self._connections.is_closed:
            raise store_closed()
        if not self._is_prepared:
            await self._connections.create(self._marks.creation)
            self._is_prepared = True

    async def _keep_house(self) -> None:
        """Now and then, and before an effect, so that a failure costs nothing that was done."""
        if self._is_prepared and now_s() >= self._forget_at_s:
            self._forget_at_s = now_s() + FORGET_INTERVAL_S
            if await self._forget_batch() == FORGET_BATCH:
                self._forget_at_s = 0.0

    async def _forget_batch(self) -> int:
        await self._prepare()
        while True:
            connection, is_fresh = await self._connections.take()
            try:
                bound_waits(connection, self._limits.timeout_s)
                async with connection.transaction():
                    dropped = await connection.execute(
                        self._marks.forget.encode(), (self._limits.retention_s, FORGET_BATCH)
                    )
                return dropped.rowcount
            except Exception as error:
                if not is_library_error(error):
                    raise
                if is_lost(error) and not is_fresh:
                    continue
                raise self._failed(error, "dropping old marks") from error
            finally:
                await self._connections.give_back(connection)
