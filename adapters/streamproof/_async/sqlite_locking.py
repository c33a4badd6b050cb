"""Waiting for SQLite's write lock without blocking anybody else."""

import sqlite3
from collections.abc import Sequence

from streamproof._async.colour import now_s, pause_s
from streamproof.delivery.stores.outcomes import database_is_locked
from streamproof.delivery.stores.sqlite import is_busy, is_open, translated

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.02


async def execute_when_free(
    connection: sqlite3.Connection,
    statement: str,
    what: str,
    timeout_s: float,
    values: Sequence[object] = (),
) -> sqlite3.Cursor:
    """A statement that can meet a lock: BEGIN IMMEDIATE, COMMIT, and reads, too (while another makes a
    checkpoint). Raises :class:`TimedOut` when others keep the lock that long, and else what SQLite says;
    nothing was done then."""
    deadline_s = now_s() + timeout_s
    nap_s = _FIRST_PAUSE_S
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.Error as error:
            if not is_busy(error):
                raise translated(error, what) from error
            left_s = deadline_s - now_s()
            if left_s <= 0:
                raise database_is_locked(what, timeout_s) from error
        await pause_s(min(nap_s, left_s))
        nap_s = min(2 * nap_s, _LONGEST_PAUSE_S)


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is open; nothing, where nothing is."""
    if is_open(connection) and connection.in_transaction:
        connection.execute("ROLLBACK")
