"""Where claims about stores are tried: one kind of store in one colour, with a ledger of its effects.

The claims are written for coroutines. A blocking store is given to them through threads, so that two
who ask at the same time really do.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from typing import Any, Protocol
from uuid import uuid4

import psycopg

from streamproof.delivery import (
    AsyncMemoryStore,
    AsyncPostgresqlStore,
    AsyncRedisStore,
    AsyncSqliteStore,
    DeduplicationStore,
    MemoryStore,
    PostgresqlStore,
    RedisStore,
    SqliteStore,
)


class Store(Protocol):
    """A store of either colour, as coroutines use it."""

    def once(self, key: str) -> AbstractAsyncContextManager[Any]: ...

    async def forget_expired(self) -> int: ...

    async def close(self) -> None: ...


class InThreads:
    """A blocking store as coroutines use it: each step in a thread."""

    def __init__(self, store: DeduplicationStore[Any]) -> None:
        self.store = store

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[Any]:
        block = self.store.once(key)
        transaction = await asyncio.to_thread(block.__enter__)
        try:
            yield transaction
        except BaseException as error:
            if not await asyncio.to_thread(block.__exit__, type(error), error, error.__traceback__):
                raise
        else:
            await asyncio.to_thread(block.__exit__, None, None, None)

    async def forget_expired(self) -> int:
        return await asyncio.to_thread(self.store.forget_expired)

    async def close(self) -> None:
        await asyncio.to_thread(self.store.close)


class Ground:
    """One kind of store, opened as often as wanted over the same marks, and what was effected."""

    is_database = False
    """The store is the database that the effects stand in."""
    is_parallel = True
    """Two effects of different keys can go on at the same time."""
    is_lasting = True
    """Marks outlive the store's object."""

    def __init__(self, place: str, colour: str) -> None:
        self.place = place
        self.is_async = colour == "async"
        self.unique = f"t{uuid4().hex[:12]}"
        self.effects: list[str] = []

    @property
    def table(self) -> str:
        return f"{self.unique}_marks"

    def open(self, **options: Any) -> Store:
        """A store over this ground's marks."""
        store = self.make(**options)
        return store if self.is_async else InThreads(store)

    def make(self, **options: Any) -> Any:
        raise NotImplementedError

    async def apply(self, transaction: Any, key: str) -> None:
        """The effect: here a line in a ledger that lies apart from the store."""
        self.effects.append(key)

    def count(self, key: str) -> int:
        """How often the effect stands."""
        return self.effects.count(key)


class MemoryGround(Ground):
    is_lasting = False

    def make(self, **options: Any) -> Any:
        return (AsyncMemoryStore if self.is_async else MemoryStore)(**options)


class RedisGround(Ground):
    def make(self, **options: Any) -> Any:
        return (AsyncRedisStore if self.is_async else RedisStore)(
            self.place, prefix=f"{self.unique}:", **options
        )


class SqliteGround(Ground):
    is_database = True
    is_parallel = False

    def __init__(self, place: str, colour: str) -> None:
        super().__init__(place, colour)
        with closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"CREATE TABLE {self.unique} (key TEXT)")

    def make(self, **options: Any) -> Any:
        return (AsyncSqliteStore if self.is_async else SqliteStore)(
            options.pop("database", self.place), table=options.pop("table", self.table), **options
        )

    async def apply(self, transaction: Any, key: str) -> None:
        transaction.execute(f"INSERT INTO {self.unique} VALUES (?)", (key,))

    def count(self, key: str) -> int:
        with closing(sqlite3.connect(self.place)) as connection:
            query = f"SELECT count(*) FROM {self.unique} WHERE key = ?"
            return int(connection.execute(query, (key,)).fetchone()[0])


class PostgresqlGround(Ground):
    is_database = True

    def __init__(self, place: str, colour: str) -> None:
        super().__init__(place, colour)
        self.run(f"CREATE TABLE {self.unique} (key text)")

    def make(self, **options: Any) -> Any:
        return (AsyncPostgresqlStore if self.is_async else PostgresqlStore)(
            options.pop("database", self.place), table=options.pop("table", self.table), **options
        )

    async def execute(self, transaction: Any, statement: str, *values: Any) -> Any:
        """A statement on a connection of either colour."""
        if self.is_async:
            return await transaction.execute(statement, values)
        return await asyncio.to_thread(transaction.execute, statement, values)

    async def apply(self, transaction: Any, key: str) -> None:
        await self.execute(transaction, f"INSERT INTO {self.unique} VALUES (%s)", key)

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement of somebody else's."""
        with psycopg.connect(self.place, autocommit=True) as connection:
            done = connection.execute(statement.encode(), values)
            return done.fetchall() if done.description else []

    def count(self, key: str) -> int:
        return int(self.run(f"SELECT count(*) FROM {self.unique} WHERE key = %s", key)[0][0])


KINDS: dict[str, type[Ground]] = {
    "memory": MemoryGround,
    "sqlite": SqliteGround,
    "postgresql": PostgresqlGround,
    "redis": RedisGround,
}
