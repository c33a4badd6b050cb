"""What differs between the colours and cannot be generated; ``_async/colour.py`` is its twin."""

import threading
import time
from collections.abc import Callable
from typing import Any


def runnable(body: Callable[[Any], None]) -> Callable[[Any], None]:
    """A case as test runners call it."""
    return body


class LoopOwner:
    """There is no event loop."""

    @classmethod
    def run_to_end(cls, work: Callable[[], None]) -> None:
        """Do the last of the suite's work."""
        work()


def nap_s(duration_s: float) -> None:
    """Let others run before a condition is looked at again."""
    time.sleep(duration_s)


def running() -> set[object]:
    """Who could still be at work: threads."""
    return set(threading.enumerate())
