"""What stores and outboxes in SQLite share: connections, statements, errors, and the guard of a transaction.

SQLite has no client library that awaits. Its calls are short and local, so coroutines make them as
they are; what can take long, waiting for another's lock, is never left to SQLite (its busy handler
sleeps in the call) but done by the caller, between attempts.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath

from streamproof.delivery.stores.limits import quoted_table
from streamproof.errors import (
    AccessDenied,
    BackendError,
    ConfigurationError,
    StreamproofError,
    TimedOut,
    Unreachable,
    UsageError,
)

SqliteDatabase = str | PathLike[str] | Callable[[], sqlite3.Connection]
"""A file, or what opens a connection to the application's database (the store closes it)."""

_IDLE_LIMIT = 16
_NO_FILE = ("", ":memory:")


class SqliteConnections:
    """Connections to one database, kept for their next use. May be used from any thread."""

    def __init__(self, database: SqliteDatabase) -> None:
        if not callable(database) and fspath(database) in _NO_FILE:
            raise ConfigurationError(
                "a store in SQLite needs a file: a database in memory is seen by one connection only; "
                "MemoryStore keeps marks in memory"
            )
        self._database = database
        self._idle: deque[sqlite3.Connection] = deque()
        self.is_closed = False

    def take(self) -> sqlite3.Connection:
        """A connection outside of any transaction. Raises :class:`Unreachable` when there is none."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._open()
        except sqlite3.Error as error:
            raise translated(error, "opening the database") from error

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Keep it for the next; one that is still inside a transaction is closed, which rolls back."""
        is_whole = is_open(connection) and not connection.in_transaction
        if is_whole and not self.is_closed and len(self._idle) < _IDLE_LIMIT:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that nobody uses; the others when they come back."""
        self.is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> sqlite3.Connection:
        if not callable(self._database):
            return sqlite3.connect(
                fspath(self._database), timeout=0.0, isolation_level=None, check_same_thread=False
            )
        connection = self._database()
        if not isinstance(connection, sqlite3.Connection) or connection.in_transaction:
            raise ConfigurationError(
                "what opens a connection for a store returns a sqlite3.Connection that is not inside of a "
                "transaction (with autocommit=False it always is: leave that out)"
            )
        return connection


class SqliteMarks:
    """The table of marks as statements; nothing from outside is put into their text but checked names."""

    def __init__(self, table: str) -> None:
        name = quoted_table(table, may_have_schema=False)
        index = f'"{table}_marked_at"'
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {name} "
            f"(key TEXT PRIMARY KEY, marked_at REAL NOT NULL) WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {index} ON {name} (marked_at)",
        )
        self.insert = f"INSERT OR IGNORE INTO {name} (key, marked_at) VALUES (?, ?)"
        self.forget = (
            f"DELETE FROM {name} WHERE key IN "
            f"(SELECT key FROM {name} WHERE marked_at < ? ORDER BY marked_at LIMIT ?)"
        )


class TransactionGuard:
    """Keeps a handler from ending the transaction that it works in.

    While it is on, SQLite refuses to compile COMMIT, ROLLBACK and BEGIN, however they are asked for
    (also by ``with connection:``); savepoints are free. See "Compile-Time Authorization Callbacks".
    """

    def __init__(self) -> None:
        self.was_needed = False

    @contextmanager
    def on(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Refuse until the block is left."""
        connection.set_authorizer(self._judge)
        try:
            yield
        finally:
            if is_open(connection):
                connection.set_authorizer(None)

    def _judge(self, action: int, *_what: str | None) -> int:
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self.was_needed = True
        return sqlite3.SQLITE_DENY


def is_open(connection: sqlite3.Connection) -> bool:
    """Whether nobody closed it."""
    try:
        return connection.in_transaction is not None
    except sqlite3.ProgrammingError:
        return False


def begins_by_itself(connection: sqlite3.Connection) -> bool:
    """Whether Python begins a transaction at the first change, as it does unless told otherwise."""
    mode = getattr(connection, "autocommit", None)
    return mode is False or (mode is not True and connection.isolation_level is not None)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the lock: worth another attempt."""
    # Extended codes keep the primary one in their lowest byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, doing: str) -> StreamproofError:
    """The error of this package for one of SQLite's. Nothing was applied."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if is_busy(error):
        return TimedOut(f"SQLite failed while {doing}: {error}; another transaction is writing: try again")
    if code == sqlite3.SQLITE_CANTOPEN:
        return Unreachable(f"SQLite failed while {doing}: {error}; is the folder there, and may we write?")
    if code in (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        return AccessDenied(f"SQLite failed while {doing}: {error}; let this user write to file and folder")
    is_passing = code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM)
    return BackendError(f"SQLite failed while {doing}: {error}", retriable=is_passing)


def ended_by_handler(key: str) -> UsageError:
    """Refused in time: nothing was committed."""
    return UsageError(
        f"the handler of {key!r} tried to begin, commit or roll back (with connection: does that, too): the "
        f"transaction is the store's, that effect and mark stand or fall together; nothing was stored"
    )
