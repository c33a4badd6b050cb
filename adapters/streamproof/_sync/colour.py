"""What differs between the colours and cannot be generated; ``_async/colour.py`` is its twin."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

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


def apply_each(fn: Callable[[Any], Any], records: Sequence[Any], workers: int) -> list[Any]:
    """What ``fn`` gives for each record, in their order; on ``workers`` threads."""
    if workers == 1:
        return [fn(record) for record in records]
    with ThreadPoolExecutor(workers, thread_name_prefix="streamproof-transform") as pool:
        return list(pool.map(fn, records))
