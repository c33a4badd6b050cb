"""What differs between the colours and cannot be generated; ``_sync/colour.py`` is its twin."""

import asyncio
from contextlib import nullcontext

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
