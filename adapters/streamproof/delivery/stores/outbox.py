"""What outboxes of both databases and colours share: rows, statements, how far a table is final, the lock."""

import fcntl
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import msgspec

from streamproof.checks import as_bytes, as_headers, require_topic_name
from streamproof.delivery.identity import RECORD_ID, new_record_id
from streamproof.delivery.stores.limits import quoted_table
from streamproof.delivery.stores.postgresql import TableCreation, as_lock_key
from streamproof.errors import BackendError, ConfigurationError, UsageError
from streamproof.records import Headers
from streamproof.serialization import Encode, Format, encoder

Order = Literal["total", "key"]

_ID_LIMIT = 200
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode


class OutboxRow(msgspec.Struct, frozen=True):
    """One record that waits to be published. ``id`` rises in the order in which rows were added."""

    id: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def lane(self) -> object:
        """What the row must keep its order with when order is by key; a record without a key with nobody."""
        return self.id if self.key is None else (self.topic, self.key)

    @property
    def described(self) -> str:
        """The row, for an error."""
        return f"row {self.id} of the outbox, for topic {self.topic}"


def row_of(columns: Sequence[Any]) -> OutboxRow:
    """A row as the databases return it: id, topic, key, value, headers."""
    id, topic, key, value, headers = columns
    return OutboxRow(
        id,
        topic,
        None if key is None else bytes(key),
        None if value is None else bytes(value),
        _unpack(bytes(headers)),
    )


class OutboxFormat:
    """Turns what the application adds into columns."""

    def __init__(self, key: Format, value: Format) -> None:
        self._encode_key: Encode | None = encoder(key)
        self._encode_value: Encode | None = encoder(value)

    def columns(
        self, topic: str, value: Any, key: Any, headers: Any, record_id: str | None
    ) -> tuple[str, tuple[str, bytes | None, bytes | None, bytes]]:
        """The record's id; and topic, key, value and headers, the id among them."""
        require_topic_name(topic)
        raw_value = value if self._encode_value is None else self._encode_value(value)
        raw_key = key if self._encode_key is None else self._encode_key(key)
        id = new_record_id() if record_id is None else record_id
        if not isinstance(id, str) or not id.isprintable() or not 1 <= len(id) <= _ID_LIMIT:
            raise UsageError(f"record_id={id!r} is not possible: give 1 to {_ID_LIMIT} printable characters")
        all_headers = (*as_headers(headers or ()), (RECORD_ID, id.encode()))
        return id, (
            topic,
            None if raw_key is None else as_bytes(raw_key, "key"),
            None if raw_value is None else as_bytes(raw_value, "value"),
            _pack(all_headers),
        )


class PostgresqlOutboxTable:
    """The statements of an outbox in PostgreSQL.

    Whoever adds holds a shared advisory lock from before its row's id is drawn until its transaction
    ends. Nobody ever waits for that lock: it only shows the relay, in ``pg_locks``, whose rows may
    still be on their way. See :class:`Horizon`.
    """

    def __init__(self, table: str) -> None:
        self.name = quoted_table(table, may_have_schema=True)
        self.creation = TableCreation(
            table,
            f"CREATE TABLE IF NOT EXISTS {self.name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            f"topic text NOT NULL, key bytea, value bytea, headers bytea NOT NULL, "
            f"added_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        )
        self.adding = (as_lock_key("streamproof outbox adding"), as_lock_key(table))
        self.relaying = (as_lock_key("streamproof outbox relaying"), as_lock_key(table))
        # Materialized and read from: the lock is there before the default of id draws its number.
        self.add = (
            f"WITH adding AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%s, %s)) "
            f"INSERT INTO {self.name} (topic, key, value, headers) SELECT %s, %s, %s, %s FROM adding"
        )
        self.last_id = (
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass), 0)"
        )
        self.adders = (
            "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND classid = %s AND objid = %s AND objsubid = 2"
        )
        self.read = (
            f"SELECT id, topic, key, value, headers FROM {self.name} WHERE id <= %s ORDER BY id LIMIT %s"
        )
        self.remove = f"DELETE FROM {self.name} WHERE id = ANY(%s)"
        self.try_lock = "SELECT 1 WHERE pg_try_advisory_lock(%s, %s)"
        self.unlock = "SELECT pg_advisory_unlock(%s, %s)"

    @property
    def adding_as_oids(self) -> tuple[int, int]:
        """The lock's two numbers as ``pg_locks`` shows them: without a sign."""
        return self.adding[0] & 0xFFFFFFFF, self.adding[1] & 0xFFFFFFFF


class SqliteOutboxTable:
    """The statements of an outbox in SQLite. One transaction writes at a time: ids rise as they commit."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.name = quoted_table(table, may_have_schema=False)
        # AUTOINCREMENT: an id is never used again, though rows are deleted.
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {self.name} (id INTEGER PRIMARY KEY AUTOINCREMENT, "
            f"topic TEXT NOT NULL, key BLOB, value BLOB, headers BLOB NOT NULL, "
            f"added_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))"
        )
        self.find = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        self.add = f"INSERT INTO {self.name} (topic, key, value, headers) VALUES (?, ?, ?, ?)"
        self.read = f"SELECT id, topic, key, value, headers FROM {self.name} ORDER BY id LIMIT ?"
        self.remove = f"DELETE FROM {self.name} WHERE id = ?"


class Horizon:
    """Up to which id a table in PostgreSQL is final: every row up to there is visible or never will be.

    Ids are drawn before transactions commit, so a row can appear below one that was published
    already, and a relay that follows the highest id would never see it. So: look at the last id
    drawn, *then* at who is adding. Ids up to there belong to those adders or to transactions that
    have ended (locks are let go after a commit can be seen). When all of these have ended, too, the
    ids up to that one are final; who came later has higher ones.
    """

    def __init__(self) -> None:
        self.reached = 0
        self._last_id = 0
        self._waits_for: Collection[str] = ()

    def look(self, last_id: int, adders: Iterable[str]) -> int:
        """Take in one look, ``last_id`` being read before ``adders``; returns how far all is final."""
        adding = set(adders)
        # A transaction that is prepared (two-phase commit) goes on under another name, -1/<its id>.
        prepared = {name for name in adding if name.startswith("-1/")}
        if self._waits_for:
            self._waits_for = (adding & set(self._waits_for)) | prepared
        if not self._waits_for:
            self.reached = max(self.reached, self._last_id)
            self._last_id, self._waits_for = last_id, adding
            if not adding:
                self.reached = max(self.reached, last_id)
        return self.reached


class RelayLock:
    """One relay at a time on one machine: a lock on a file beside the database (flock(2)).

    The kernel lets go of it when its process ends, however it ends.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take it, without waiting; false if another has it."""
        if self._file is not None:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise BackendError(f"the relay's lock {self._path} cannot be made: {cause.strerror}") from cause
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let go; the file stays, to be locked again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def waves(rows: Sequence[OutboxRow], order: Order) -> list[list[OutboxRow]]:
    """What may be under way together, in turn: one record of each lane, or one record at all."""
    if order == "total":
        return [[row] for row in rows]
    found: list[list[OutboxRow]] = []
    depth: dict[object, int] = {}
    for row in rows:
        turn = depth[row.lane] = depth.get(row.lane, -1) + 1
        if turn == len(found):
            found.append([])
        found[turn].append(row)
    return found


def require_order(order: object) -> None:
    """The two that there are."""
    if order not in ("total", "key"):
        raise ConfigurationError(f"order={order!r} is not possible: use 'total' or 'key'")


def not_in_transaction() -> UsageError:
    """What is added there would be published though the change it tells of may fail."""
    return UsageError(
        "the connection is not inside of a transaction: begin one, make the change, add what tells of it, "
        "and commit both together"
    )
