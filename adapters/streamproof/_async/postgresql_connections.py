"""Connections to one PostgreSQL: kept here for their next use, or lent by the application's pool."""

from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, final

from streamproof.delivery.stores.postgresql import (
    IDLE,
    AsyncPostgresqlConnector,
    TableCreation,
    bound_waits,
    is_library_error,
    transaction_status,
    translated,
)
from streamproof.errors import ConfigurationError

if TYPE_CHECKING:
    from streamproof.delivery.stores.postgresql import AsyncConnection, AsyncPostgresqlDatabase

_IDLE_LIMIT = 16


@final
class AsyncPostgresqlConnections:
    """Gives out connections outside of any transaction. The blocking one may be used from any thread."""

    def __init__(self, database: "AsyncPostgresqlDatabase", timeout_s: float) -> None:
        if not isinstance(database, str) and not callable(database):
            raise ConfigurationError(
                "PostgreSQL is given as a URL, postgresql://user@host/database, or as a function that lends "
                "a connection, e.g. pool.connection"
            )
        self._database = database
        self._timeout_s = timeout_s
        self._idle: deque[AsyncConnection] = deque()
        self._lent: dict[int, AbstractAsyncContextManager[AsyncConnection]] = {}
        self.is_closed = False

    async def take(self) -> "tuple[AsyncConnection, bool]":
        """A connection, and whether it is fresh: one that lay idle may be broken without knowing it.
        Raises :class:`Unreachable` when there is none to have."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        try:
            return await self._open(), True
        except Exception as error:
            if not is_library_error(error):
                raise
            raise translated(error, "connecting") from error

    async def give_back(self, connection: "AsyncConnection") -> None:
        """Keep it for the next; one that is not whole, or still inside a transaction, is closed."""
        lender = self._lent.pop(id(connection), None)
        if lender is not None:
            await lender.__aexit__(None, None, None)
            return
        is_whole = not connection.closed and transaction_status(connection) == IDLE
        if self.is_closed or not is_whole or len(self._idle) >= _IDLE_LIMIT:
            await connection.close()
        else:
            self._idle.append(connection)

    async def create(self, creation: TableCreation) -> None:
        """Make the table if it is not there. Others who want to do the same wait meanwhile."""
        connection, is_fresh = await self.take()
        try:
            bound_waits(connection, self._timeout_s)
            async with connection.transaction():
                if not await self._exists(connection, creation):
                    await connection.execute(creation.lock, creation.lock_key)
                    for statement in creation.create:
                        await connection.execute(statement)
        except Exception as error:
            if not is_library_error(error):
                raise
            if not is_fresh:
                await connection.close()
                await self.create(creation)
                return
            raise translated(error, f"creating the table {creation.name}") from error
        finally:
            await self.give_back(connection)

    async def close(self) -> None:
        """Close those that nobody uses; the others when they come back."""
        self.is_closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _exists(self, connection: "AsyncConnection", creation: TableCreation) -> bool:
        # Rows come in whatever form the application chose for its connections: count them.
        return (await connection.execute(creation.find, (creation.name,))).rowcount == 1

    async def _open(self) -> "AsyncConnection":
        if isinstance(self._database, str):
            return await AsyncPostgresqlConnector.open(self._database, self._timeout_s)
        lender = self._database()
        connection = await lender.__aenter__()
        if transaction_status(connection) != IDLE:
            await lender.__aexit__(None, None, None)
            raise ConfigurationError(
                "the connection that was lent is inside of a transaction: lend one that is not"
            )
        self._lent[id(connection)] = lender
        return connection
