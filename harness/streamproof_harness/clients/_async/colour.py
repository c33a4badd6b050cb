"""What differs between the colours and cannot be generated; ``_sync/colour.py`` is its twin."""

import asyncio


def now_s() -> float:
    """The loop's clock in seconds: virtual in a simulation."""
    return asyncio.get_running_loop().time()


async def pause_s(duration_s: float) -> None:
    """Wait, and let others run."""
    await asyncio.sleep(duration_s)
