"""What stores and outboxes in PostgreSQL share: the client library, bounded waits, statements, errors."""

import math
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from streamproof.delivery.stores.limits import quoted_table
from streamproof.errors import (
    AccessDenied,
    BackendError,
    ConfigurationError,
    MissingExtra,
    StreamproofError,
    TimedOut,
    TransactionAborted,
    Unreachable,
)

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[Any]
    AsyncConnection: TypeAlias = psycopg.AsyncConnection[Any]
    PostgresqlDatabase: TypeAlias = str | Callable[[], AbstractContextManager[Connection]]
    AsyncPostgresqlDatabase: TypeAlias = str | Callable[[], AbstractAsyncContextManager[AsyncConnection]]

# pq.TransactionStatus: outside of a transaction, inside, inside of one that failed.
IDLE, INSIDE, FAILED = 0, 2, 3

# The server is given that much longer than its own bound to tell that the bound passed.
_GRACE_S = 1.0

_LOCK_NOT_AVAILABLE = "55P03"
UNDEFINED_TABLE = "42P01"


def import_psycopg() -> Any:
    """The client library; :class:`MissingExtra` says what to install."""
    try:
        import psycopg
    except ImportError as cause:
        raise MissingExtra(
            "PostgreSQL needs psycopg, which is not installed: pip install 'streamproof[postgresql]'"
        ) from cause
    return psycopg


class PostgresqlConnector:
    """Opens blocking connections."""

    @staticmethod
    def open(url: str, timeout_s: float) -> "Connection":
        """A connection in autocommit mode, within the bound."""
        kind: Any = _bounded_kinds()[0]
        opened: Connection = kind.connect(url, **_settings(url, timeout_s))
        return opened


class AsyncPostgresqlConnector:
    """Opens connections for coroutines."""

    @staticmethod
    async def open(url: str, timeout_s: float) -> "AsyncConnection":
        """A connection in autocommit mode, within the bound."""
        kind: Any = _bounded_kinds()[1]
        opened: AsyncConnection = await kind.connect(url, **_settings(url, timeout_s))
        return opened


def bound_waits(connection: Any, timeout_s: float | None) -> None:
    """Let every further answer to a connection opened here be waited for at most that long, or, without a
    bound, as long as it takes: so for the statements of applications. Connections of the
    application's own are left as they are."""
    if hasattr(connection, "streamproof_bound_s"):
        connection.streamproof_bound_s = None if timeout_s is None else timeout_s + _GRACE_S


def transaction_status(connection: Any) -> int:
    """One of ``pq.TransactionStatus``."""
    return int(connection.info.transaction_status)


class PostgresqlMarks:
    """The table of marks as statements; nothing from outside is put into their text but checked names."""

    def __init__(self, table: str) -> None:
        name = quoted_table(table, may_have_schema=True)
        index = f'"{table.rpartition(".")[2]}_marked_at"'
        self.creation = TableCreation(
            table,
            f'CREATE TABLE IF NOT EXISTS {name} (key text COLLATE "C" PRIMARY KEY, '
            f"marked_at timestamptz NOT NULL DEFAULT clock_timestamp())",
            f"CREATE INDEX IF NOT EXISTS {index} ON {name} (marked_at)",
        )
        # The bound stands in the same statement: a transaction of the application's own pool has none.
        self.insert = (
            f"WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', %s, true)) "
            f"INSERT INTO {name} (key) SELECT %s FROM bound ON CONFLICT DO NOTHING"
        )
        self.forget = (
            f"WITH old AS (SELECT key FROM {name} "
            f"WHERE marked_at < clock_timestamp() - make_interval(secs => %s) "
            f"ORDER BY marked_at LIMIT %s FOR UPDATE SKIP LOCKED) "
            f"DELETE FROM {name} AS mark USING old WHERE mark.key = old.key"
        )


class TableCreation:
    """How a table comes to be on demand: looked for, and made by one session while others wait.

    They say IF NOT EXISTS then: to look for it a second time would be answered from a session's own
    cache of what is not there.
    """

    def __init__(self, table: str, *create: str) -> None:
        self.name = quoted_table(table, may_have_schema=True)
        self.create = tuple(statement.encode() for statement in create)
        self.find = "SELECT 1 WHERE to_regclass(%s) IS NOT NULL"
        self.lock = "SELECT pg_advisory_xact_lock(%s, %s)"
        self.lock_key = (as_lock_key("streamproof table"), as_lock_key(table))


def as_lock_key(text: str) -> int:
    """One of the two numbers that an advisory lock is named by: 32 bits with a sign."""
    return zlib.crc32(text.encode()) - (1 << 31)


def lock_timeout(timeout_s: float) -> str:
    """The setting ``lock_timeout`` for this bound."""
    return f"{max(1, round(1000 * timeout_s))}ms"


def is_lock_timeout(error: BaseException) -> bool:
    """Whether the wait for another session's lock reached its bound."""
    return getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, or was never made: what it was to do may be tried on another."""
    return isinstance(error, import_psycopg().OperationalError) and _is_of_connection(error)


def is_library_error(error: BaseException) -> bool:
    """Whether the client library raised this."""
    return isinstance(error, import_psycopg().Error)


def has_answer(error: BaseException) -> bool:
    """Whether the server itself said that it did not do it; else nobody knows."""
    return getattr(error, "sqlstate", None) is not None and not _is_of_connection(error)


def translated(error: BaseException, doing: str) -> StreamproofError:
    """The error of this package for one of the client library's. Nothing was applied."""
    if isinstance(error, StreamproofError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = f"PostgreSQL failed while {doing}: {said}"
    if state == _LOCK_NOT_AVAILABLE:
        return TimedOut(f"{text}; another session holds what this one needs: try again")
    if state.startswith("28") or state == "42501":
        return AccessDenied(f"{text}; check the user, its password and its privileges")
    if _is_of_connection(error):
        return Unreachable(f"{text}; try again when it is back")
    if state.startswith("40"):
        return TransactionAborted(f"{text}; nothing of it was stored: do it again")
    # Class 53: out of memory, disk or connections.
    return BackendError(text, retriable=state.startswith("53"))


def _is_of_connection(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if state is None:
        # From the client, not from the server: no connection, or no answer.
        return isinstance(error, (import_psycopg().OperationalError, import_psycopg().InterfaceError))
    # 08: connection exceptions; 57P: the server is ending, or starting; 53300: no connection is left.
    return str(state).startswith(("08", "57P")) or state == "53300"


def _settings(url: str, timeout_s: float) -> dict[str, Any]:
    psycopg = import_psycopg()
    if not isinstance(url, str):
        raise ConfigurationError("PostgreSQL is named by a URL, postgresql://user@host/database")
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Neither shown nor chained: it may hold a password.
        raise ConfigurationError(
            "this is no address of PostgreSQL: write postgresql://user:password@host:5432/database, with "
            "/ ? @ : in a name or password as %2F %3F %40 %3A"
        ) from None
    return {"autocommit": True, "connect_timeout": max(2, math.ceil(timeout_s))}


@cache
def _bounded_kinds() -> tuple[type[Any], type[Any]]:
    """Connections of both colours whose waits can be bounded. A server that is stopped, or behind a
    network that swallows, answers nothing: libpq alone would wait for it for ever."""
    psycopg = import_psycopg()

    class BoundedConnection(psycopg.Connection):  # type: ignore[misc,name-defined]
        streamproof_bound_s: float | None = None

        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            if self.streamproof_bound_s is not None:
                gen = _bounded(gen, self.pgconn, self.streamproof_bound_s)
            return super().wait(gen, *arguments, **options)

    class AsyncBoundedConnection(psycopg.AsyncConnection):  # type: ignore[misc,name-defined]
        streamproof_bound_s: float | None = None

        async def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            if self.streamproof_bound_s is not None:
                gen = _bounded(gen, self.pgconn, self.streamproof_bound_s)
            return await super().wait(gen, *arguments, **options)

    return BoundedConnection, AsyncBoundedConnection


def _bounded(gen: Any, native: Any, timeout_s: float) -> Generator[Any, int, Any]:
    """The same exchange with the server, given up when its bound passes without an answer.

    The waiting loop looks in here several times a second. The connection is of no use after that.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline_s:
                native.finish()
                raise import_psycopg().OperationalError(f"no answer within {timeout_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
