"""Stores in the application's database: mark and effect stand or fall together, whatever the handler does."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row

from streamproof import (
    AccessDenied,
    BackendError,
    ConfigurationError,
    StreamproofError,
    TimedOut,
    Unreachable,
    UsageError,
)
from streamproof.delivery import AsyncSqliteStore, PostgresqlStore, SqliteStore
from streamproof.errors import TransactionAborted
from tests.real.stores.claims import attempt
from tests.real.stores.grounds import Ground, PostgresqlGround, SqliteGround, Store
from tests.real.stores.outboxes import until


async def apply_and(ground: Ground, store: Store, key: str, step: Callable[[Any], Any]) -> None:
    """The effect, and then what a handler should not do."""
    async with store.once(key) as connection:
        await ground.apply(connection, key)
        done = step(connection)
        if asyncio.iscoroutine(done):
            await done


async def undone_and_done_again(ground: Ground, store: Store, key: str = "a") -> None:
    """Nothing of the first attempt stands, and the next one is as good as new."""
    assert ground.count(key) == 0
    assert await attempt(ground, store, key)
    assert not await attempt(ground, store, key)
    assert ground.count(key) == 1
    await store.close()


# -- SQLite ------------------------------------------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def sqlite_ground(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteGround:
    return SqliteGround(str(tmp_path / "app.db"), request.param)


ENDINGS = {
    "commit()": lambda connection: connection.commit(),
    "rollback()": lambda connection: connection.rollback(),
    "COMMIT": lambda connection: connection.execute("COMMIT"),
    "ROLLBACK": lambda connection: connection.execute("ROLLBACK"),
    "BEGIN": lambda connection: connection.execute("BEGIN"),
    "with": lambda connection: connection.__enter__() and connection.__exit__(None, None, None),
    "executescript": lambda connection: connection.executescript("SELECT 1;"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_handler_cannot_end_the_transaction_in_sqlite(sqlite_ground: SqliteGround, ending: str) -> None:
    async def story() -> None:
        store = sqlite_ground.open()
        with pytest.raises(UsageError, match="nothing was stored"):
            await apply_and(sqlite_ground, store, "a", ENDINGS[ending])
        await undone_and_done_again(sqlite_ground, store)

    asyncio.run(story())


def test_a_handler_that_closes_the_connection_is_told(sqlite_ground: SqliteGround) -> None:
    async def story() -> None:
        store = sqlite_ground.open()
        with pytest.raises(TransactionAborted, match="ended the transaction"):
            await apply_and(sqlite_ground, store, "a", lambda connection: connection.close())
        await undone_and_done_again(sqlite_ground, store)

    asyncio.run(story())


def test_savepoints_are_the_handler_s_own_in_sqlite(sqlite_ground: SqliteGround) -> None:
    async def story() -> None:
        store = sqlite_ground.open()
        async with store.once("a") as connection:
            connection.execute("SAVEPOINT risky")
            await sqlite_ground.apply(connection, "undone")
            connection.execute("ROLLBACK TO risky")
            connection.execute("RELEASE risky")
            await sqlite_ground.apply(connection, "a")
        assert (sqlite_ground.count("a"), sqlite_ground.count("undone")) == (1, 0)
        await store.close()

    asyncio.run(story())


def test_a_connection_of_the_application_s_own_making(sqlite_ground: SqliteGround) -> None:
    """In Python's default mode, with rows of its own kind, with foreign keys on."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(sqlite_ground.place, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        return connection

    async def story() -> None:
        store = sqlite_ground.open(database=connect)
        async with store.once("b") as connection:
            assert connection.row_factory is sqlite3.Row
        await undone_and_done_again(sqlite_ground, store)

    asyncio.run(story())


def test_a_connection_inside_of_a_transaction_is_no_store(sqlite_ground: SqliteGround) -> None:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(sqlite_ground.place, check_same_thread=False)
        connection.execute("BEGIN")
        return connection

    async def story() -> None:
        store = sqlite_ground.open(database=connect)
        with pytest.raises(ConfigurationError, match="not inside of a transaction"):
            await attempt(sqlite_ground, store, "a")

    asyncio.run(story())


def test_another_s_write_lock_is_waited_for_and_no_longer(sqlite_ground: SqliteGround) -> None:
    async def story() -> None:
        store = sqlite_ground.open(timeout_s=0.3)
        with closing(sqlite3.connect(sqlite_ground.place)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimedOut, match="write lock") as found:
                await attempt(sqlite_ground, store, "a")
            assert found.value.retriable
        await undone_and_done_again(sqlite_ground, store)

    asyncio.run(story())


def test_a_commit_that_readers_hold_up_is_undone_at_its_bound(sqlite_ground: SqliteGround) -> None:
    """Without WAL a commit waits until nobody reads."""

    async def story() -> None:
        with closing(sqlite3.connect(sqlite_ground.place)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        store = sqlite_ground.open(timeout_s=0.3)
        assert await attempt(sqlite_ground, store, "before")
        with closing(sqlite3.connect(sqlite_ground.place)) as reader:
            reading = reader.execute(f"SELECT * FROM {sqlite_ground.unique}")
            reader.execute("BEGIN")
            reader.execute(f"SELECT * FROM {sqlite_ground.unique}").fetchall()
            with pytest.raises(TimedOut):
                await attempt(sqlite_ground, store, "a")
            reading.close()
        await undone_and_done_again(sqlite_ground, store)

    asyncio.run(story())


def test_where_sqlite_cannot_be(tmp_path: Path) -> None:
    for path in ("", ":memory:"):
        with pytest.raises(ConfigurationError, match="MemoryStore"):
            SqliteStore(path)
    with pytest.raises(Unreachable, match="folder"), SqliteStore(tmp_path / "none" / "a.db").once("a"):
        pass
    readable = tmp_path / "readable.db"
    sqlite3.connect(readable).close()

    def read_only() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{readable}?mode=ro", uri=True)

    with pytest.raises(AccessDenied, match="write"), SqliteStore(read_only).once("a"):
        pass
    (tmp_path / "text.db").write_text("this is no database, and long enough to be seen as none" * 20)
    with (
        pytest.raises(BackendError, match="not a database") as found,
        SqliteStore(tmp_path / "text.db").once("a"),
    ):
        pass
    assert not found.value.retriable


def test_coroutines_of_one_loop_take_turns_without_holding_it_up(tmp_path: Path) -> None:
    """The lock is waited for between attempts: the one who holds it must run, to let it go."""
    ground = SqliteGround(str(tmp_path / "app.db"), "async")

    async def hold(store: AsyncSqliteStore, key: str) -> None:
        async with store.once(key) as connection:
            await asyncio.sleep(0.01)
            await ground.apply(connection, key)

    async def story() -> None:
        store = ground.make()
        await asyncio.gather(*(hold(store, str(number)) for number in range(8)))
        assert sum(ground.count(str(number)) for number in range(8)) == 8
        await store.close()

    asyncio.run(story())


# -- PostgreSQL --------------------------------------------------------------------------------


def test_an_error_that_the_handler_swallows_is_no_success(postgresql_ground: PostgresqlGround) -> None:
    """PostgreSQL answers the commit of a failed transaction by a rollback, and by no error."""

    async def swallow(connection: Any) -> None:
        with pytest.raises(psycopg.errors.UndefinedTable):
            await postgresql_ground.execute(connection, "SELECT * FROM no_such_table")

    async def story() -> None:
        store = postgresql_ground.open()
        with pytest.raises(TransactionAborted, match="went on as if it had not") as found:
            await apply_and(postgresql_ground, store, "a", swallow)
        assert (found.value.retriable, found.value.definite) == (False, True)
        await undone_and_done_again(postgresql_ground, store)

    asyncio.run(story())


def test_savepoints_are_the_handler_s_own(postgresql_ground: PostgresqlGround) -> None:
    class Undo(Exception):
        pass

    async def risk(connection: Any) -> None:
        if postgresql_ground.is_async:
            async with connection.transaction():
                await postgresql_ground.apply(connection, "undone")
                raise Undo
        with connection.transaction():
            await postgresql_ground.apply(connection, "undone")
            raise Undo

    async def story() -> None:
        store = postgresql_ground.open()
        async with store.once("a") as connection:
            with pytest.raises(Undo):
                await risk(connection)
            await postgresql_ground.apply(connection, "a")
        assert (postgresql_ground.count("a"), postgresql_ground.count("undone")) == (1, 0)
        await store.close()

    asyncio.run(story())


def test_a_handler_that_commits_is_refused(postgresql_ground: PostgresqlGround) -> None:
    async def story() -> None:
        store = postgresql_ground.open()
        with pytest.raises(psycopg.ProgrammingError):
            await apply_and(postgresql_ground, store, "a", lambda connection: connection.commit())
        await undone_and_done_again(postgresql_ground, store)

    asyncio.run(story())


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_a_handler_that_ends_the_transaction_is_told(
    postgresql_ground: PostgresqlGround, statement: str
) -> None:
    async def story() -> None:
        store = postgresql_ground.open()
        with pytest.raises(TransactionAborted, match="ended the transaction") as found:
            await apply_and(
                postgresql_ground,
                store,
                "a",
                lambda connection: postgresql_ground.execute(connection, statement),
            )
        # Which of the two it was the store cannot know: nothing is claimed.
        assert (found.value.retriable, found.value.definite) == (False, False)
        assert await attempt(postgresql_ground, store, "a") == (statement == "ROLLBACK")
        assert postgresql_ground.count("a") == 1
        await store.close()

    asyncio.run(story())


def test_a_constraint_that_fails_at_the_commit_undoes_all(postgresql_ground: PostgresqlGround) -> None:
    ground = postgresql_ground
    ground.run(f"ALTER TABLE {ground.unique} ADD UNIQUE (key) DEFERRABLE INITIALLY DEFERRED")

    async def story() -> None:
        store = ground.open()
        with pytest.raises(BackendError, match=r"committing the effect of 'a'.*unique") as found:
            await apply_and(ground, store, "a", lambda connection: ground.apply(connection, "a"))
        assert (found.value.retriable, found.value.definite) == (False, True)
        await undone_and_done_again(ground, store)

    asyncio.run(story())


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_stricter_isolation_tells_duplicates_as_conflicts(
    postgresql_ground: PostgresqlGround, level: str
) -> None:
    """The loser of a race is refused, to try again: then it finds the mark."""
    ground = postgresql_ground
    level = level.replace(" ", "\\ ")
    ground.place += f"?options={quote(f'-c default_transaction_isolation={level}')}"

    async def story() -> None:
        assert (await shown_level(ground)).replace(" ", "\\ ") == level
        store = ground.open()
        async with store.once("a") as transaction:
            await ground.apply(transaction, "a")
            waiting = asyncio.create_task(attempt(ground, store, "a"))
            await until(lambda: asyncio.to_thread(is_waited_for, ground))
        with pytest.raises(TransactionAborted) as found:
            await waiting
        assert found.value.retriable
        assert not await attempt(ground, store, "a")
        assert ground.count("a") == 1
        await store.close()

    asyncio.run(story())


def is_waited_for(ground: PostgresqlGround) -> bool:
    """Somebody waits for the transaction that this ground's marks are written in."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    return bool(ground.run(waiting, f"%{ground.table}%"))


async def shown_level(ground: PostgresqlGround) -> str:
    return str(ground.run("SHOW default_transaction_isolation")[0][0])


def lender(ground: PostgresqlGround, **options: Any) -> Any:
    """What a pool's ``connection`` method is: here with a connection for each call."""
    lent: list[Any] = []

    @contextmanager
    def connection() -> Iterator[Any]:
        with psycopg.connect(ground.place, row_factory=dict_row, **options) as opened:
            lent.append(opened)
            yield opened

    @asynccontextmanager
    async def async_connection() -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(
            ground.place, row_factory=dict_row, **options
        ) as opened:
            lent.append(opened)
            yield opened

    lend = async_connection if ground.is_async else connection
    lend.lent = lent  # type: ignore[attr-defined]
    return lend


@pytest.mark.parametrize("is_autocommit", [True, False])
def test_connections_that_the_application_lends(
    postgresql_ground: PostgresqlGround, is_autocommit: bool
) -> None:
    ground = postgresql_ground
    lend = lender(ground, autocommit=is_autocommit)

    async def story() -> None:
        store = ground.open(database=lend, timeout_s=0.5)
        async with store.once("b") as connection:
            assert connection.row_factory is dict_row
            with pytest.raises(TimedOut):
                await attempt(ground, store, "b")
        assert not await attempt(ground, store, "b")
        await undone_and_done_again(ground, store)
        assert lend.lent
        assert all(connection.closed for connection in lend.lent)

    asyncio.run(story())


def test_a_lent_connection_inside_of_a_transaction_is_given_back(postgresql_ground: PostgresqlGround) -> None:
    ground = postgresql_ground

    @contextmanager
    def busy() -> Iterator[Any]:
        with psycopg.connect(ground.place) as opened:
            opened.execute("SELECT 1")
            yield opened

    @asynccontextmanager
    async def async_busy() -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(ground.place) as opened:
            await opened.execute("SELECT 1")
            yield opened

    async def story() -> None:
        store = ground.open(database=async_busy if ground.is_async else busy)
        with pytest.raises(ConfigurationError, match="inside of a transaction"):
            await attempt(ground, store, "a")

    asyncio.run(story())


def test_a_user_without_privileges_is_told(postgresql_ground: PostgresqlGround) -> None:
    ground = postgresql_ground
    ground.run(f"CREATE ROLE {ground.unique} LOGIN")
    ground.run(f"CREATE SCHEMA {ground.unique}_s")

    async def story() -> None:
        store = ground.open(
            database=psycopg.conninfo.make_conninfo(ground.place, user=ground.unique),
            table=f"{ground.unique}_s.marks",
        )
        with pytest.raises(AccessDenied, match="privileges"):
            await attempt(ground, store, "a")
        await store.close()

    try:
        asyncio.run(story())
    finally:
        ground.run(f"DROP ROLE {ground.unique}")


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@h/db?secret", "secret", "postgresql://u:se/cret@h/db?none=secret", 7]
)
def test_a_wrong_address_is_told_without_its_password(url: Any) -> None:
    with pytest.raises(StreamproofError) as found, PostgresqlStore(url, timeout_s=1.0).once("a"):
        pass
    assert isinstance(found.value, ConfigurationError)
    assert "secret" not in repr(found.value)


def test_a_database_that_is_not_there_is_told(postgresql_ground: PostgresqlGround) -> None:
    url = f"{postgresql_ground.place}_none"

    async def story() -> None:
        store = postgresql_ground.open(database=url)
        with pytest.raises(StreamproofError, match=r"streamproof_none.* does not exist"):
            await attempt(postgresql_ground, store, "a")

    asyncio.run(story())


def test_a_schema_can_be_named(postgresql_ground: PostgresqlGround) -> None:
    ground = postgresql_ground
    ground.run(f"CREATE SCHEMA {ground.unique}_s")

    async def story() -> None:
        store = ground.open(table=f"{ground.unique}_s.Marks")
        await undone_and_done_again(ground, store)

    asyncio.run(story())
    assert ground.run(f'SELECT count(*) FROM {ground.unique}_s."Marks"') == [(1,)]


# -- both --------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["", "a b", 'a"; DROP TABLE x', "a.b.c", "1a", "x" * 51, "é", None])
def test_a_table_has_a_plain_name(database_ground: Ground, table: Any) -> None:
    with pytest.raises(ConfigurationError, match="no table's name"):
        database_ground.open(table=table)


def test_a_table_that_was_dropped_is_made_again(database_ground: Ground) -> None:
    ground = database_ground

    async def story() -> None:
        store = ground.open()
        assert await attempt(ground, store, "b")
        if isinstance(ground, PostgresqlGround):
            ground.run(f"DROP TABLE {ground.table}")
        else:
            with closing(sqlite3.connect(ground.place)) as connection:
                connection.execute(f"DROP TABLE {ground.table}")
        with pytest.raises(BackendError):
            await attempt(ground, store, "a")
        await undone_and_done_again(ground, store)

    asyncio.run(story())


def test_marks_stay_few_by_themselves(database_ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ones are dropped in passing, without a call."""
    for colour in ("_sync", "_async"):
        for kind in ("sqlite", "postgresql"):
            monkeypatch.setattr(f"streamproof.{colour}.{kind}_store.FORGET_INTERVAL_S", 0.0)
    ground = database_ground

    async def story() -> None:
        store = ground.open(retention_s=0.05)
        for number in range(5):
            assert await attempt(ground, store, str(number))
        await asyncio.sleep(0.1)
        assert await attempt(ground, store, "last")
        assert await attempt(ground, store, "0")
        assert await store.forget_expired() == 0 or ground.is_database
        await store.close()

    asyncio.run(story())
    query = f"SELECT count(*) FROM {ground.table}"
    if isinstance(ground, PostgresqlGround):
        assert ground.run(query)[0][0] <= 2
    else:
        with closing(sqlite3.connect(ground.place)) as connection:
            assert connection.execute(query).fetchone()[0] <= 2
