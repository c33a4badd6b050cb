"""What differs between the colours and cannot be generated; ``_async/colour.py`` is its twin."""

import threading
import time
from types import TracebackType

from streamproof.driver import Driver
from streamproof.registry import opener
from streamproof.url import Address


def now_s() -> float:
    """The monotonic clock in seconds."""
    return time.monotonic()


def pause_s(duration_s: float) -> None:
    """Wait."""
    time.sleep(duration_s)


def current() -> object:
    """Who calls: the thread."""
    return threading.get_ident()


class Guard:
    """Protects state that other threads may touch: acks come from worker threads."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


def open_driver(address: Address, timeout_s: float) -> Driver:
    """Connect to the backend that the address names."""
    return opener(address.scheme)(address, timeout_s)
