"""Where outboxes are tried: one database in one colour, and the in-memory log as the broker.

Written for coroutines; blocking outboxes, relays and buses are given to them through threads.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import uuid4

import psycopg

import streamproof
from streamproof.delivery import (
    RECORD_ID,
    AsyncPostgresqlOutbox,
    AsyncRelay,
    AsyncSqliteOutbox,
    PostgresqlOutbox,
    Relay,
    SqliteOutbox,
)

TOPIC = "events"
PATIENCE_S = 30.0


async def called(verb: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """Call a method of either colour without holding up the loop."""
    if asyncio.iscoroutinefunction(verb):
        return await verb(*values, **options)
    return await asyncio.to_thread(verb, *values, **options)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - it becomes true elsewhere
            await asyncio.sleep(0.01)


class Yard:
    """One database in one colour: transactions that add, relays that publish, and what was published."""

    statement = ""

    def __init__(self, place: str, colour: str) -> None:
        self.place = place
        self.is_async = colour == "async"
        self.table = f"t{uuid4().hex[:12]}_outbox"
        self.url = f"memory://{uuid4().hex}"
        self.outbox = self.make()

    def make(self, **options: Any) -> Any:
        raise NotImplementedError

    async def connect(self) -> Any:
        """A connection of the application's."""
        raise NotImplementedError

    def rows(self) -> list[str]:
        """The values that are committed and not removed, in order of their ids."""
        raise NotImplementedError

    async def is_empty(self) -> bool:
        """Everything was published and removed."""
        return not await asyncio.to_thread(self.rows)

    async def run_until_empty(self, relay: Any, meanwhile: Awaitable[Any] | None = None) -> None:
        """Run the relay while something is done, and until all of it is published."""
        running = asyncio.create_task(called(relay.run))
        try:
            if meanwhile is not None:
                await meanwhile

            async def is_over() -> bool:
                return running.done() or await self.is_empty()

            await until(is_over)
        finally:
            relay.stop()
            await running
            await called(relay.close)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """The application's transaction: committed when left normally."""
        connection = await self.connect()
        try:
            yield connection
            await called(connection.commit)
        finally:
            await called(connection.close)

    async def add(self, connection: Any, value: str, key: str | None = None, **options: Any) -> str:
        raw = value.encode()
        given: str = await called(
            self.outbox.add, connection, TOPIC, raw, key=None if key is None else key.encode(), **options
        )
        return given

    async def add_and_commit(self, *values: str, key: str | None = None) -> None:
        async with self.transaction() as connection:
            for value in values:
                await self.add(connection, value, key)

    def relay(self, producer: Any, **options: Any) -> Any:
        return (AsyncRelay if self.is_async else Relay)(self.outbox, producer, **options)

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Any]:
        """A bus of this colour on this yard's own in-memory log, with the topic."""
        if self.is_async:
            async with await streamproof.aconnect(self.url) as bus:
                await self._make_topic(bus)
                yield bus
        else:
            with streamproof.connect(self.url) as bus:
                await self._make_topic(bus)
                yield bus

    async def _make_topic(self, bus: Any) -> None:
        admin = await called(bus.admin)
        if TOPIC not in await called(admin.list_topics):
            await called(admin.create_topic, TOPIC)

    async def published(self) -> list[tuple[str, str]]:
        """Value and id of all that was published, in the order of the log."""
        async with await streamproof.aconnect(self.url) as bus:
            consumer = await bus.consumer(TOPIC, value="text")
            found = []
            while records := await consumer.poll(500, 0.05):
                found += [(record.value, (record.header(RECORD_ID) or b"").decode()) for record in records]
            return found

    async def firsts(self) -> list[str]:
        """The values as a consumer sees them that drops the doubles."""
        seen: dict[str, str] = {}
        for value, id in await self.published():
            seen.setdefault(id, value)
        return list(seen.values())


class SqliteYard(Yard):
    def __init__(self, place: str, colour: str) -> None:
        super().__init__(place, colour)
        with closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    def make(self, **options: Any) -> Any:
        return (AsyncSqliteOutbox if self.is_async else SqliteOutbox)(
            options.pop("database", self.place), table=self.table, **options
        )

    async def connect(self) -> Any:
        return sqlite3.connect(self.place, check_same_thread=False)

    def rows(self) -> list[str]:
        with closing(sqlite3.connect(self.place)) as connection:
            try:
                rows = connection.execute(f"SELECT value FROM {self.table} ORDER BY id").fetchall()
            except sqlite3.OperationalError:
                return []
            return [bytes(value).decode() for (value,) in rows]


class PostgresqlYard(Yard):
    def make(self, **options: Any) -> Any:
        return (AsyncPostgresqlOutbox if self.is_async else PostgresqlOutbox)(
            options.pop("database", self.place), table=self.table, **options
        )

    async def connect(self) -> Any:
        if self.is_async:
            return await psycopg.AsyncConnection.connect(self.place)
        return await asyncio.to_thread(psycopg.connect, self.place)

    def rows(self) -> list[str]:
        with psycopg.connect(self.place, autocommit=True) as connection:
            try:
                rows = connection.execute(f"SELECT value FROM {self.table} ORDER BY id".encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
            return [bytes(value).decode() for (value,) in rows]


YARDS: dict[str, type[Yard]] = {"sqlite": SqliteYard, "postgresql": PostgresqlYard}
