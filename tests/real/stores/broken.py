"""A small store, sound without a defect, and with each defect broken in the way that one claim names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from streamproof import Closed, TimedOut
from streamproof.delivery.identity import require_key
from tests.real.stores.grounds import Ground, SqliteGround, Store

# Claim -> the defect that it must find.
DEFECTS: Final = {
    "the_second_time_is_a_duplicate": "makes no mark",
    "what_failed_can_be_done_again": "keeps the mark of what failed",
    "marks_outlive_the_store": "keeps marks to itself",
    "of_many_at_once_one_applies": "looks first and marks last",
    "who_waits_takes_over_from_who_fails": "takes what is going on for done",
    "waiting_has_a_bound": "waits for ever",
    "other_keys_go_on": "has one lock for all keys",
    "whoever_is_cancelled_leaves_no_mark": "keeps the mark of who is cancelled",
    "any_text_is_a_key": "takes a for A",
    "what_is_no_key_is_refused": "takes anything for a key",
    "marks_are_kept_as_long_as_said": "forgets what is new",
    "old_marks_are_forgotten": "never forgets",
    "a_closed_store_says_so": "goes on when closed",
}


class Sketch:
    """Marks in a dictionary: ``None`` while the effect goes on, then when it was done."""

    def __init__(
        self, marks: dict[Any, float | None], defect: str, retention_s: float, timeout_s: float
    ) -> None:
        self.marks = {} if defect == "keeps marks to itself" else marks
        self.defect = defect
        self.retention_s = retention_s
        self.timeout_s = timeout_s
        self.is_closed = False

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[Any]:
        if self.defect != "takes anything for a key":
            require_key(key)
        if self.is_closed and self.defect != "goes on when closed":
            raise Closed("the store is closed: make a new one")
        place = key.lower() if self.defect == "takes a for A" else key
        if not await self._claim(place):
            yield None
            return
        kept: tuple[type[BaseException], ...] = ()
        if self.defect == "keeps the mark of what failed":
            kept = (Exception,)
        if self.defect == "keeps the mark of who is cancelled":
            kept = (asyncio.CancelledError,)
        try:
            yield self
        except BaseException as error:
            self.marks.pop(place, None)
            if isinstance(error, kept):
                self.marks[place] = asyncio.get_running_loop().time()
            raise
        self.marks[place] = asyncio.get_running_loop().time()
        if self.defect == "makes no mark":
            del self.marks[place]

    async def _claim(self, place: str) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_s
        while self._is_held(place):
            if self.defect == "takes what is going on for done":
                return False
            if loop.time() > deadline and self.defect != "waits for ever":
                raise TimedOut("another has it in hand")
            await asyncio.sleep(0.001)
        if self.marks.get(place) is not None:
            return False
        if self.defect != "looks first and marks last":
            self.marks[place] = None
        return True

    def _is_held(self, place: str) -> bool:
        if self.defect == "has one lock for all keys":
            return None in self.marks.values()
        return place in self.marks and self.marks[place] is None

    async def forget_expired(self) -> int:
        now = asyncio.get_running_loop().time()
        age = 0.0 if self.defect == "forgets what is new" else self.retention_s
        old = [place for place, done in self.marks.items() if done is not None and done + age <= now]
        if self.defect == "never forgets":
            return 0
        for place in old:
            del self.marks[place]
        return len(old)

    async def close(self) -> None:
        self.is_closed = True


class SketchGround(Ground):
    """Ground for one defect, or for none."""

    def __init__(self, defect: str = "") -> None:
        super().__init__("", "async")
        self.defect = defect
        self.marks: dict[Any, float | None] = {}

    def make(self, retention_s: float = 1000.0, timeout_s: float = 10.0) -> Store:
        return Sketch(self.marks, self.defect, retention_s, timeout_s)


class Apart:
    """Marks in the effect's database, but in a transaction of their own: before the effect, or after it."""

    def __init__(self, connect: Any, table: str, *, is_early: bool) -> None:
        self.connection = connect()
        self.table = table
        self.is_early = is_early
        self.connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY)")

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[Any]:
        looked = self.connection.execute(f"SELECT 1 FROM {self.table} WHERE key = ?", (key,))
        if looked.fetchone():
            yield None
            return
        mark = f"INSERT INTO {self.table} VALUES (?)"
        if self.is_early:
            self.connection.execute(mark, (key,))
        self.connection.execute("BEGIN")
        yield self.connection
        self.connection.execute("COMMIT")
        if not self.is_early:
            self.connection.execute(mark, (key,))


class EarlyMarkGround(SqliteGround):
    """Loses the effect of who dies behind the mark."""

    def make(self, database: Any) -> Any:
        return Apart(database, self.table, is_early=True)


class LateMarkGround(SqliteGround):
    """Doubles the effect of who dies before the mark."""

    def make(self, database: Any) -> Any:
        return Apart(database, self.table, is_early=False)
