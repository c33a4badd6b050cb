"""What every store promises, one function each. They take a ground, and fail on a store that breaks them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamproof import Closed, TimedOut, UsageError
from tests.real.stores.grounds import Ground, Store

PATIENCE_S = 20.0
RACERS = 5


class Refusal(Exception):
    """What a handler raises."""


async def attempt(ground: Ground, store: Store, key: str, error: Exception | None = None) -> bool:
    """Apply the effect of a key, once; true if this attempt did. With an error: after the effect."""
    async with store.once(key) as transaction:
        if transaction is None:
            return False
        await ground.apply(transaction, key)
        if error is not None:
            raise error
    return True


async def the_second_time_is_a_duplicate(ground: Ground) -> None:
    store = ground.open()
    assert [await attempt(ground, store, "a") for _ in range(3)] == [True, False, False]
    assert await attempt(ground, store, "b")
    assert (ground.count("a"), ground.count("b")) == (1, 1)
    await store.close()


async def what_failed_can_be_done_again(ground: Ground) -> None:
    store = ground.open()
    with pytest.raises(Refusal):
        await attempt(ground, store, "a", Refusal())
    # Where effect and mark are one transaction the effect is undone; elsewhere that is the handler's.
    assert ground.count("a") == (0 if ground.is_database else 1)
    assert await attempt(ground, store, "a")
    assert not await attempt(ground, store, "a")
    await store.close()


async def marks_outlive_the_store(ground: Ground) -> None:
    first = ground.open()
    assert await attempt(ground, first, "a")
    await first.close()
    second = ground.open()
    assert await attempt(ground, second, "a") is not ground.is_lasting
    await second.close()


async def of_many_at_once_one_applies(ground: Ground) -> None:
    """All of them ask while the first is still at it."""
    stores = [ground.open() for _ in range(RACERS)] if ground.is_lasting else [ground.open()] * RACERS
    inside = 0
    applied = 0

    async def race(store: Store) -> None:
        nonlocal inside, applied
        async with store.once("a") as transaction:
            if transaction is None:
                return
            inside += 1
            assert inside == 1, "two at one key"
            # Let the others run into the key: nothing but their waiting is in the way.
            for _ in range(20):
                await asyncio.sleep(0.005)
            await ground.apply(transaction, "a")
            inside -= 1
            applied += 1

    await bounded(asyncio.gather(*(race(store) for store in stores)))
    assert (applied, ground.count("a")) == (1, 1)
    for store in stores:
        await store.close()


async def who_waits_takes_over_from_who_fails(ground: Ground) -> None:
    store = ground.open()
    entered, leave = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        async with store.once("a") as transaction:
            assert transaction is not None
            entered.set()
            await leave.wait()
            raise Refusal

    failing = asyncio.create_task(fail())
    await bounded(entered.wait())
    waiting = asyncio.create_task(attempt(ground, store, "a"))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done, "the second did not wait for the first"
    leave.set()
    with pytest.raises(Refusal):
        await bounded(failing)
    assert await bounded(waiting)
    assert ground.count("a") == 1
    await store.close()


async def waiting_has_a_bound(ground: Ground) -> None:
    store = ground.open(timeout_s=0.3)
    async with store.once("a") as transaction:
        assert transaction is not None
        with pytest.raises(TimedOut) as found:
            await bounded(attempt(ground, store, "a"))
        assert (found.value.retriable, found.value.definite) == (True, True)
        await ground.apply(transaction, "a")
    assert not await attempt(ground, store, "a")
    assert ground.count("a") == 1
    await store.close()


async def other_keys_go_on(ground: Ground) -> None:
    if not ground.is_parallel:
        return
    store = ground.open(timeout_s=2.0)
    async with store.once("a") as transaction:
        assert await bounded(attempt(ground, store, "b"))
        await ground.apply(transaction, "a")
    assert (ground.count("a"), ground.count("b")) == (1, 1)
    await store.close()


async def whoever_is_cancelled_leaves_no_mark(ground: Ground) -> None:
    store = ground.open()
    entered = asyncio.Event()

    async def hang() -> None:
        async with store.once("a") as transaction:
            await ground.apply(transaction, "a")
            entered.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await bounded(entered.wait())
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bounded(hanging)
    before = ground.count("a")
    assert await attempt(ground, store, "a")
    assert ground.count("a") == before + 1
    assert before == (0 if ground.is_database else 1)
    await store.close()


STRANGE = [
    "'; DROP TABLE x; --",
    '"',
    "%s",
    "?",
    "\\",
    "a b",
    "ключ",
    "🐘",
    "a\nb",
    "x" * 512,
    "a",
    "A",
    "a ",
    " ",
]


async def any_text_is_a_key(ground: Ground) -> None:
    store = ground.open()
    assert [await attempt(ground, store, key) for key in STRANGE] == [True] * len(STRANGE)
    assert [await attempt(ground, store, key) for key in STRANGE] == [False] * len(STRANGE)
    assert [ground.count(key) for key in STRANGE] == [1] * len(STRANGE)
    await store.close()


async def what_is_no_key_is_refused(ground: Ground) -> None:
    store = ground.open()
    keys: list[Any] = ["", "x" * 513, "a\0b", "\ud800", b"a", None, 7]
    for key in keys:
        with pytest.raises(UsageError, match="key"):
            await attempt(ground, store, key)
    assert await attempt(ground, store, "a")
    await store.close()


async def marks_are_kept_as_long_as_said(ground: Ground) -> None:
    store = ground.open()
    assert await attempt(ground, store, "a")
    assert await store.forget_expired() == 0
    assert not await attempt(ground, store, "a")
    await store.close()


async def old_marks_are_forgotten(ground: Ground) -> None:
    store = ground.open(retention_s=0.05)
    assert await attempt(ground, store, "a")

    async def is_new() -> bool:
        await store.forget_expired()
        return await attempt(ground, store, "a")

    async with asyncio.timeout(PATIENCE_S):
        while not await is_new():  # noqa: ASYNC110 - it is a clock that is waited for
            await asyncio.sleep(0.01)
    await store.close()


async def a_closed_store_says_so(ground: Ground) -> None:
    store = ground.open()
    await store.close()
    opened = ground.open()
    assert await attempt(ground, opened, "a")
    await opened.close()
    await opened.close()
    for closed in (store, opened):
        with pytest.raises(Closed, match="make a new one"):
            await attempt(ground, closed, "b")
    assert ground.count("b") == 0


async def bounded(awaitable: Awaitable[Any]) -> Any:
    """A test that hangs is a failure that says where."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


CLAIMS: list[Callable[[Ground], Awaitable[None]]] = [
    the_second_time_is_a_duplicate,
    what_failed_can_be_done_again,
    marks_outlive_the_store,
    of_many_at_once_one_applies,
    who_waits_takes_over_from_who_fails,
    waiting_has_a_bound,
    other_keys_go_on,
    whoever_is_cancelled_leaves_no_mark,
    any_text_is_a_key,
    what_is_no_key_is_refused,
    marks_are_kept_as_long_as_said,
    old_marks_are_forgotten,
    a_closed_store_says_so,
]
