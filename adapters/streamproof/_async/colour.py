"""What differs between the colours and cannot be generated; ``_sync/colour.py`` is its twin."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from streamproof.driver import AsyncDriver
from streamproof.registry import async_opener
from streamproof.url import Address


def now_s() -> float:
    """The loop's clock in seconds: virtual in a simulation."""
    return asyncio.get_running_loop().time()


async def pause_s(duration_s: float) -> None:
    """Wait."""
    await asyncio.sleep(duration_s)


def current() -> object:
    """Who calls: the task."""
    return asyncio.current_task()


class Guard(nullcontext[None]):
    """Protects state that other threads may touch; on one event loop nothing is needed."""


async def open_driver(address: Address, timeout_s: float) -> AsyncDriver:
    """Connect to the backend that the address names."""
    return await async_opener(address.scheme)(address, timeout_s)


async def apply_each(fn: Callable[[Any], Any], records: Sequence[Any], workers: int) -> list[Any]:
    """What ``fn``, a plain function or a coroutine's, gives for each record, in their order; no more
    than ``workers`` at a time."""
    if workers == 1:
        return [await _given(fn(record)) for record in records]
    free = asyncio.Semaphore(workers)

    async def apply(record: Any) -> Any:
        async with free:
            return await _given(fn(record))

    tasks = [asyncio.ensure_future(apply(record)) for record in records]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _given(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
