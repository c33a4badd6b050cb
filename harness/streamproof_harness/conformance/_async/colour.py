"""What differs between the colours and cannot be generated; ``_sync/colour.py`` is its twin."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ClassVar


def runnable(body: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """A case as test runners call it: blocking, on the event loop of its suite. No plugin of a test
    runner is needed."""

    @wraps(body)
    def run(suite: Any) -> None:
        suite.loop().run(body(suite))

    return run


class LoopOwner:
    """Keeps one event loop for all cases of a suite: the connections of a bus are bound to it."""

    _loop: ClassVar[asyncio.Runner]

    @classmethod
    def loop(cls) -> asyncio.Runner:
        """The suite's event loop."""
        if "_loop" not in cls.__dict__:
            cls._loop = asyncio.Runner()
        return cls._loop

    @classmethod
    def run_to_end(cls, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the last of the suite's work, then close its loop."""
        try:
            cls.loop().run(work())
        finally:
            cls.loop().close()
            del cls._loop


async def nap_s(duration_s: float) -> None:
    """Let others run before a condition is looked at again."""
    await asyncio.sleep(duration_s)


def running() -> set[object]:
    """Who could still be at work: tasks of this loop, and threads."""
    return {*asyncio.all_tasks(), *threading.enumerate()}
