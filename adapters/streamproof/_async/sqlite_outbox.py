"""An outbox in the application's SQLite database."""

import sqlite3
from collections.abc import Sequence
from typing import Any, final

from streamproof._async.sqlite_locking import execute_when_free, roll_back
from streamproof.delivery.stores.limits import TIMEOUT_S, require_duration
from streamproof.delivery.stores.outbox import (
    OutboxFormat,
    OutboxRow,
    RelayLock,
    SqliteOutboxTable,
    not_in_transaction,
    row_of,
)
from streamproof.delivery.stores.sqlite import SqliteConnections, SqliteDatabase, begins_by_itself, translated
from streamproof.errors import ConfigurationError, UsageError
from streamproof.serialization import Format


@final
class AsyncSqliteOutbox:
    """Records that a SQLite transaction leaves to be published once it is committed.

    ``add`` writes them within the application's transaction; an ``AsyncRelay`` publishes them. One
    transaction writes at a time in SQLite, so the order is that of the commits. The relay is kept single by
    a lock on a file beside the database, ``<database>.<table>.lock``.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        *,
        table: str = "streamproof_outbox",
        key: Format = "bytes",
        value: Format = "bytes",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``key`` and ``value`` name formats as ``bus.producer()`` does. The table is created when it is
        first needed, in the transaction that adds to it."""
        require_duration("timeout_s", timeout_s)
        self._database = database
        self._table = SqliteOutboxTable(table)
        self._format = OutboxFormat(key, value)
        self._timeout_s = timeout_s

    async def add(
        self,
        connection: sqlite3.Connection,
        topic: str,
        value: Any,
        *,
        key: Any = None,
        headers: Any = (),
        record_id: str | None = None,
    ) -> str:
        """Leave one record to be published if the connection's transaction commits; returns its id.
        Raises :class:`UsageError` outside of a transaction, and :class:`SerializationError`."""
        id, columns = self._format.columns(topic, value, key, headers, record_id)
        if not isinstance(connection, sqlite3.Connection):
            kind = type(connection).__name__
            raise UsageError(f"give the sqlite3.Connection of the transaction, not a {kind}")
        if not connection.in_transaction and not begins_by_itself(connection):
            raise not_in_transaction()
        try:
            if connection.execute(self._table.find, (self._table.table,)).fetchone() is None:
                connection.execute(self._table.create)
            connection.execute(self._table.add, columns)
        except sqlite3.Error as error:
            raise translated(error, "adding to the outbox") from error
        return id

    def reader(self) -> "AsyncSqliteOutboxReader":
        """The relay's side."""
        return AsyncSqliteOutboxReader(self._database, self._table, self._timeout_s)


@final
class AsyncSqliteOutboxReader:
    """See :class:`~streamproof._async.relay.AsyncOutboxReader`."""

    def __init__(self, database: SqliteDatabase, table: SqliteOutboxTable, timeout_s: float) -> None:
        self._connections = SqliteConnections(database)
        self._table = table
        self._timeout_s = timeout_s
        self._lock: RelayLock | None = None

    async def acquire(self) -> bool:
        """Become the relay."""
        if self._lock is None:
            connection = self._connections.take()
            try:
                self._lock = RelayLock(_lock_path(connection, self._table.table))
            finally:
                self._connections.give_back(connection)
        return self._lock.acquire()

    async def read(self, limit: int) -> Sequence[OutboxRow]:
        """The first rows."""
        connection = self._connections.take()
        what, timeout_s = "reading the outbox", self._timeout_s
        try:
            found = await execute_when_free(
                connection, self._table.find, what, timeout_s, (self._table.table,)
            )
            if found.fetchone() is None:
                return ()
            rows = await execute_when_free(connection, self._table.read, what, timeout_s, (limit,))
            return [row_of(row) for row in rows.fetchall()]
        finally:
            self._connections.give_back(connection)

    async def remove(self, ids: Sequence[int]) -> None:
        """Delete what was published."""
        connection = self._connections.take()
        what = "removing what was published"
        try:
            await execute_when_free(connection, "BEGIN IMMEDIATE", what, self._timeout_s)
            connection.executemany(self._table.remove, [(id,) for id in ids])
            await execute_when_free(connection, "COMMIT", what, self._timeout_s)
        except sqlite3.Error as error:
            raise translated(error, what) from error
        finally:
            roll_back(connection)
            self._connections.give_back(connection)

    async def release(self) -> None:
        """Let another be the relay."""
        if self._lock is not None:
            self._lock.release()
        self._connections.close()


def _lock_path(connection: sqlite3.Connection, table: str) -> str:
    """Beside the file of the main database."""
    for _, name, path in connection.execute("PRAGMA database_list"):
        if name == "main" and path:
            return f"{path}.{table}.lock"
    raise ConfigurationError("an outbox in SQLite needs a file: nobody else sees a database in memory")
