"""Marks in the application's own SQLite database, committed together with the effect."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

from streamproof._async.colour import now_s
from streamproof._async.sqlite_locking import execute_when_free, roll_back
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
    store_closed,
    transaction_ended,
)
from streamproof.delivery.stores.sqlite import (
    SqliteConnections,
    SqliteDatabase,
    SqliteMarks,
    TransactionGuard,
    ended_by_handler,
    is_open,
    translated,
)
from streamproof.errors import StreamproofError


@final
class AsyncSqliteStore:
    """Mark and effect in one SQLite transaction: both or neither, whenever the process dies.

    ``once`` gives a ``sqlite3.Connection`` inside a transaction that holds the database's write lock
    (BEGIN IMMEDIATE): whatever is written with it is part of the transaction; reads and writes of
    other connections wait or not as SQLite's journal mode has it (WAL is the one to have). The
    handler neither begins nor commits; an attempt is refused. In coroutines SQLite's calls
    block the loop while they run, but never while they wait for the lock.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        *,
        table: str = "streamproof_marks",
        retention_s: float = RETENTION_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``database`` is a file's path, or a function that opens a connection. The table is created
        when it is first needed."""
        self._limits = Limits(retention_s, timeout_s)
        self._marks = SqliteMarks(table)
        self._connections = SqliteConnections(database)
        self._is_prepared = False
        self._forget_at_s = 0.0

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[sqlite3.Connection | None]:
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        require_key(key)
        await self._keep_house()
        connection = self._take()
        try:
            await self._begin(connection, f"the effect of {key!r}")
            if not self._mark(connection, key):
                roll_back(connection)
                yield None
                return
            guard = TransactionGuard()
            try:
                with guard.on(connection):
                    yield connection
            except BaseException as error:
                roll_back(connection)
                if guard.was_needed and isinstance(error, sqlite3.Error):
                    raise ended_by_handler(key) from error
                raise
            if not is_open(connection) or not connection.in_transaction:
                # Some errors (a full disk) make SQLite roll back by itself; this handler went on.
                raise transaction_ended(key)
            await self._commit(connection, key)
        finally:
            self._connections.give_back(connection)

    async def forget_expired(self) -> int:
        """See :class:`~streamproof.delivery.AsyncDeduplicationStore`."""
        forgotten = 0
        while (batch := await self._forget_batch()) > 0:
            forgotten += batch
        return forgotten

    async def close(self) -> None:
        """Close the connections; those in use when their effect is committed. Twice is harmless."""
        self._connections.close()

    def _take(self) -> sqlite3.Connection:
        if self._connections.is_closed:
            raise store_closed()
        return self._connections.take()

    async def _begin(self, connection: sqlite3.Connection, what: str) -> None:
        """Take the write lock, within the bound, and make the table if it was not seen yet."""
        await execute_when_free(connection, "BEGIN IMMEDIATE", what, self._limits.timeout_s)
        if self._is_prepared:
            return
        try:
            for statement in self._marks.create:
                connection.execute(statement)
            await execute_when_free(connection, "COMMIT", what, self._limits.timeout_s)
        except sqlite3.Error as error:
            roll_back(connection)
            raise translated(error, "creating the table of marks") from error
        self._is_prepared = True
        await execute_when_free(connection, "BEGIN IMMEDIATE", what, self._limits.timeout_s)

    def _mark(self, connection: sqlite3.Connection, key: str) -> bool:
        try:
            return connection.execute(self._marks.insert, (key, time.time())).rowcount == 1
        except sqlite3.Error as error:
            raise self._failed(connection, error, "marking") from error

    def _failed(self, connection: sqlite3.Connection, error: sqlite3.Error, doing: str) -> StreamproofError:
        """Undone; and the table may be gone, so it is looked for, and made, before the next attempt."""
        roll_back(connection)
        self._is_prepared = False
        return translated(error, doing)

    async def _commit(self, connection: sqlite3.Connection, key: str) -> None:
        """A commit that finds readers in its way can be repeated; one that failed otherwise is undone."""
        try:
            await execute_when_free(connection, "COMMIT", key, self._limits.timeout_s)
        except BaseException as error:
            if not connection.in_transaction:
                raise commit_unknown(key) from error
            roll_back(connection)
            raise

    async def _keep_house(self) -> None:
        """Now and then, and before an effect, so that a failure costs nothing that was done."""
        if self._is_prepared and now_s() >= self._forget_at_s:
            self._forget_at_s = now_s() + FORGET_INTERVAL_S
            if await self._forget_batch() == FORGET_BATCH:
                self._forget_at_s = 0.0

    async def _forget_batch(self) -> int:
        connection = self._take()
        try:
            await self._begin(connection, "the housekeeping")
            try:
                oldest = time.time() - self._limits.retention_s
                forgotten = connection.execute(self._marks.forget, (oldest, FORGET_BATCH)).rowcount
            except sqlite3.Error as error:
                raise self._failed(connection, error, "dropping old marks") from error
            await self._commit(connection, "the housekeeping")
            return forgotten
        finally:
            self._connections.give_back(connection)
