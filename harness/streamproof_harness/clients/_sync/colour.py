"""What differs between the colours and cannot be generated; ``_async/colour.py`` is its twin."""

import time


def now_s() -> float:
    """The monotonic clock in seconds."""
    return time.monotonic()


def pause_s(duration_s: float) -> None:
    """Wait, and let others run."""
    time.sleep(duration_s)
