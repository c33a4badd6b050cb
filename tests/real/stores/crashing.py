"""Run as a program: one effect over and over, each time in a process that is killed one step later.

``crashing.py KIND COLOUR PLACE UNIQUE LEDGER ASKS``: steps are the exchanges with the store (and, where
the effect lies apart from it, the effect), each of them once *before* and once *after*. After each kill
the effect is tried again in a process that lives. Prints one JSON line for each: the key, the step it
died at, what the second attempt did, and whether it was in doubt. Ends with the attempt that had no
step left to die at.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import redis
import redis.asyncio

from tests.real.stores.broken import EarlyMarkGround, LateMarkGround
from tests.real.stores.grounds import KINDS, Ground, RedisGround, SqliteGround

OUTCOMES = {0: "duplicate", 1: "applied", 2: "applied in doubt", 3: "asked, and left alone"}


class Steps:
    """Counts, and kills this process at one of them."""

    def __init__(self, last: int, report: int) -> None:
        self.last = last
        self.report = report
        self.taken = 0
        self.is_counting = True

    def take(self, name: str) -> None:
        if not self.is_counting:
            return
        self.taken += 1
        if self.taken == self.last:
            os.write(self.report, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)


STEPS = Steps(0, 2)


def counted(kind: Any, verb: str, *, is_async: bool, name_of: Callable[..., str]) -> None:
    """Take a step before and after each call of this method."""
    original = getattr(kind, verb)

    def call(self: Any, *values: Any, **options: Any) -> Any:
        name = name_of(*values)
        STEPS.take(f"before {name}")
        done = original(self, *values, **options)
        STEPS.take(f"after {name}")
        return done

    async def await_it(self: Any, *values: Any, **options: Any) -> Any:
        name = name_of(*values)
        STEPS.take(f"before {name}")
        done = await original(self, *values, **options)
        STEPS.take(f"after {name}")
        return done

    setattr(kind, verb, await_it if is_async else call)


def count_exchanges(ground: Ground) -> None:
    """Make steps of what goes to the server."""
    if isinstance(ground, RedisGround):
        # EVALSHA, and the script's text where Redis does not know it.
        for library, is_async in ((redis.Redis, False), (redis.asyncio.Redis, True)):
            counted(library, "execute_command", is_async=is_async, name_of=lambda *values: str(values[0]))
    else:
        for connection, is_async in ((psycopg.Connection, False), (psycopg.AsyncConnection, True)):
            counted(connection, "wait", is_async=is_async, name_of=lambda *_: "an exchange")


def counting_connection(place: str) -> Any:
    """SQLite's exchanges are its statements."""
    import sqlite3

    class Counting(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            name = " ".join(statement.split()[:2])
            STEPS.take(f"before {name}")
            done = super().execute(statement, *values)
            STEPS.take(f"after {name}")
            return done

    return lambda: sqlite3.connect(
        place, factory=Counting, timeout=0.0, isolation_level=None, check_same_thread=False
    )


async def attempt(ground: Ground, key: str, ledger: str, asks: bool) -> int:
    """One effect; returns which of :data:`OUTCOMES` it was."""
    if isinstance(ground, SqliteGround):
        store = ground.open(database=counting_connection(ground.place))
    elif isinstance(ground, RedisGround):
        store = ground.open(lease_s=0.3)
    else:
        store = ground.open()
    async with store.once(key) as transaction:
        if transaction is None:
            return 0
        is_doubtful = getattr(transaction, "is_doubtful", False)
        if ground.is_database:
            await ground.apply(transaction, key)
            return 1
        if asks and is_doubtful and key in lines(ledger):
            return 3
        STEPS.take("before the effect")
        note(ledger, key)
        STEPS.take("after the effect")
        return 2 if is_doubtful else 1


def note(ledger: str, key: str) -> None:
    """The effect apart from the store: a line that outlives the process."""
    with open(ledger, "a") as file:
        file.write(f"{key}\n")


def lines(ledger: str) -> list[str]:
    """What was effected apart from the store."""
    with open(ledger) as file:
        return file.read().split()


def in_a_process(last: int, work: Callable[[], int]) -> tuple[int, str]:
    """Do it in a fork, killed at its step ``last`` (0: never); how it ended, and where it died."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 100
        try:
            STEPS.last, STEPS.taken, STEPS.report = last, 0, writable
            status = work()
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable) as report:
        step = report.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), step


def main(kind: str, colour: str, place: str, unique: str, ledger: str, asks: str) -> None:
    """Every step in turn."""
    kinds = {**KINDS, "earlymark": EarlyMarkGround, "latemark": LateMarkGround}
    ground = kinds[kind].__new__(kinds[kind])
    Ground.__init__(ground, place, colour)
    ground.unique = unique
    count_exchanges(ground)
    for last in range(1, 1000):
        key = f"k{last}"
        work = lambda key=key: asyncio.run(attempt(ground, key, ledger, asks == "asks"))  # noqa: E731
        first, step = in_a_process(last, work)
        second, _ = in_a_process(0, work) if first < 0 else (first, "")
        print(json.dumps([key, step, OUTCOMES.get(second, f"failed: {second}")]), flush=True)
        if first >= 0:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
