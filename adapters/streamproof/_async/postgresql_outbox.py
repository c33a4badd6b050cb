"""An outbox in the application's PostgreSQL database."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from streamproof._async.postgresql_connections import AsyncPostgresqlConnections
from streamproof.delivery.stores.limits import TIMEOUT_S, require_duration
from streamproof.delivery.stores.outbox import (
    Horizon,
    OutboxFormat,
    OutboxRow,
    PostgresqlOutboxTable,
    not_in_transaction,
    row_of,
)
from streamproof.delivery.stores.postgresql import (
    IDLE,
    bound_waits,
    import_psycopg,
    is_library_error,
    transaction_status,
    translated,
)
from streamproof.errors import UsageError
from streamproof.serialization import Format

if TYPE_CHECKING:
    from streamproof.delivery.stores.postgresql import AsyncConnection, AsyncPostgresqlDatabase


@final
class AsyncPostgresqlOutbox:
    """Records that a PostgreSQL transaction leaves to be published once it is committed.

    ``add`` writes them within the application's transaction; an ``AsyncRelay`` publishes them, in the
    order in which they were added. Nothing waits for anything in ``add``. A transaction that has
    added and stays open holds back what others add after it: add last. Of two transactions that change
    the same row the second waits for the first, so change first, then add: the order is then that of
    the changes.
    """

    def __init__(
        self,
        database: "AsyncPostgresqlDatabase",
        *,
        table: str = "streamproof_outbox",
        key: Format = "bytes",
        value: Format = "bytes",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``database`` is for the relay: a URL, or a function that lends a connection, which it keeps for
        itself (a session of the server's own: not through a pooler that deals out transactions).
        ``key`` and ``value`` name formats as ``bus.producer()`` does."""
        import_psycopg()
        require_duration("timeout_s", timeout_s)
        self._connections = AsyncPostgresqlConnections(database, timeout_s)
        self._database = database
        self._table = PostgresqlOutboxTable(table)
        self._format = OutboxFormat(key, value)
        self._timeout_s = timeout_s
        self._is_there = self._was_made_here = False

    async def create(self) -> None:
        """Make the table now, if it is not there. Otherwise the first ``add`` or relay makes it."""
        await self._connections.create(self._table.creation)
        await self._connections.close()

    async def add(
        self,
        connection: "AsyncConnection",
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
        if not isinstance(connection, import_psycopg().AsyncConnection):
            raise UsageError(
                f"give the psycopg.AsyncConnection of the transaction, not a {type(connection).__name__}"
            )
        # Without autocommit psycopg begins a transaction by itself at the first statement.
        if connection.autocommit and transaction_status(connection) == IDLE:
            raise not_in_transaction()
        try:
            if not self._is_there:
                await self._look_for_table(connection)
            await connection.execute(self._table.add.encode(), (*self._table.adding, *columns))
        except Exception as error:
            if not is_library_error(error):
                raise
            raise translated(error, "adding to the outbox") from error
        return id

    def reader(self) -> "AsyncPostgresqlOutboxReader":
        """The relay's side."""
        return AsyncPostgresqlOutboxReader(self._database, self._table, self._timeout_s)

    async def _look_for_table(self, connection: "AsyncConnection") -> None:
        """Make the table in the transaction at hand. That one may yet be undone, and the table with it:
        so whoever has made it goes on looking."""
        creation = self._table.creation
        if (await connection.execute(creation.find, (creation.name,))).rowcount == 1:
            self._is_there = not self._was_made_here
            return
        self._was_made_here = True
        await connection.execute(creation.lock, creation.lock_key)
        for statement in creation.create:
            await connection.execute(statement)


@final
class AsyncPostgresqlOutboxReader:
    """See :class:`~streamproof._async.relay.AsyncOutboxReader`.

    The relay holds an advisory lock of its session, on the one connection that it works with: when
    that is lost so is the lock, and the server takes nothing more from it.
    """

    def __init__(
        self, database: "AsyncPostgresqlDatabase", table: PostgresqlOutboxTable, timeout_s: float
    ) -> None:
        self._connections = AsyncPostgresqlConnections(database, timeout_s)
        self._table = table
        self._timeout_s = timeout_s
        self._connection: AsyncConnection | None = None
        self._horizon = Horizon()

    async def acquire(self) -> bool:
        """Become the relay."""
        if self._connection is not None:
            return True
        await self._connections.create(self._table.creation)
        connection, _ = await self._connections.take()
        bound_waits(connection, self._timeout_s)
        is_ours = False
        try:
            async with connection.transaction():
                locked = await connection.execute(self._table.try_lock, self._table.relaying)
            is_ours = locked.rowcount == 1
        except Exception as error:
            if not is_library_error(error):
                raise
            raise translated(error, "asking to be the relay") from error
        finally:
            if not is_ours:
                await self._connections.give_back(connection)
        self._connection = connection
        self._horizon = Horizon()
        return is_ours

    async def read(self, limit: int) -> Sequence[OutboxRow]:
        """The first rows below the horizon."""
        return [row_of(row) for row in await self._work("reading the outbox", self._read, limit)]

    async def remove(self, ids: Sequence[int]) -> None:
        """Delete what was published."""
        await self._work("removing what was published", self._remove, ids)

    async def release(self) -> None:
        """Let another be the relay."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(import_psycopg().Error):
                async with connection.transaction():
                    await connection.execute(self._table.unlock, self._table.relaying)
            await self._connections.give_back(connection)
        await self._connections.close()

    async def _read(self, connection: "AsyncConnection", limit: int) -> list[tuple[Any, ...]]:
        # Each statement sees what was committed when it begins, and their order is what counts.
        ((last_id,),) = await self._rows(connection, self._table.last_id, self._table.name)
        adders = await self._rows(connection, self._table.adders, *self._table.adding_as_oids)
        reached = self._horizon.look(last_id, [name for (name,) in adders])
        return await self._rows(connection, self._table.read, reached, limit)

    async def _remove(self, connection: "AsyncConnection", ids: Sequence[int]) -> list[tuple[Any, ...]]:
        async with connection.transaction():
            await connection.execute(self._table.remove.encode(), (list(ids),))
        return []

    async def _rows(
        self, connection: "AsyncConnection", statement: str, *values: Any
    ) -> list[tuple[Any, ...]]:
        # Plain tuples, whatever the application chose for its connections.
        rows = import_psycopg().rows.tuple_row
        async with connection.transaction(), connection.cursor(row_factory=rows) as cursor:
            await cursor.execute(statement.encode(), values)
            found: list[tuple[Any, ...]] = await cursor.fetchall()
        return found

    async def _work(self, doing: str, step: Any, *arguments: Any) -> list[tuple[Any, ...]]:
        """A step on the connection that holds the lock. If it fails that is given up, with the lock."""
        connection = self._connection
        if connection is None:
            raise UsageError("this is not the relay: acquire() first")
        try:
            done: list[tuple[Any, ...]] = await step(connection, *arguments)
            return done
        except BaseException as error:
            self._connection = None
            await connection.close()
            await self._connections.give_back(connection)
            if not is_library_error(error):
                raise
            raise translated(error, doing) from error
