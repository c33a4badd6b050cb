"""How the client processes of a run open their databases."""

import sqlite3
from collections.abc import Callable


def database(path: str) -> Callable[[], sqlite3.Connection]:
    """What opens this SQLite file: with a write-ahead log that outlives a process that is killed. It is
    not synced to the disk: no run cuts the power, and a sync for each record would set the pace."""

    def opened() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return opened
