"""The time an in-memory cluster lives in: the machine's, or one that a test or simulation moves."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of one time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch: timestamps of records, retention."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since any moment, never going back: sessions and other deadlines."""
        ...


class SystemClock:
    """The machine's."""

    __slots__ = ()

    def now_ms(self) -> int:
        """See :class:`Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """See :class:`Clock`."""
        return time.monotonic_ns()
