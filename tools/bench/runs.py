"""How a measurement is run: so many times, in pairs, and how long the timed part takes."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tools.bench.brokers import Brokers
from tools.bench.rows import Figure, Row, figure, ratios

Side = Callable[[str], float]
"""One run at a place (a topic's name, say): how many a second."""

Place = Callable[[], AbstractContextManager[str]]
"""Where a run happens, made before it and gone after it."""


@dataclass(frozen=True, slots=True)
class Session:
    """How often each measurement is repeated, with which part of its usual number of records."""

    runs: int
    fraction: float
    brokers: Brokers

    def count(self, usual: int) -> int:
        """How many records, where it is ``usual`` as a rule; a multiple of 100."""
        return max(100, int(usual * self.fraction) // 100 * 100)

    def seconds(self, usual: float) -> float:
        """How long, where it is ``usual`` as a rule."""
        return max(0.2, usual * min(1.0, self.fraction))


Rows = Iterator[Row]


class Stopwatch:
    """Times one part of a run."""

    def __init__(self) -> None:
        self._begin = 0.0
        self._end = 0.0

    def start(self) -> None:
        """From here on. What was left over before is collected first; afterwards the collector
        works as in any application."""
        gc.collect()
        self._begin = time.perf_counter()

    def stop(self) -> None:
        """Up to here."""
        self._end = time.perf_counter()

    def rate(self, count: int) -> float:
        """So many in that time: how many a second."""
        return count / (self._end - self._begin)

    @property
    def seconds(self) -> float:
        """The time between."""
        return self._end - self._begin

    def __enter__(self) -> "Stopwatch":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Pair:
    """What the runs of two sides gave."""

    ours: Figure
    theirs: Figure
    ratio: Figure


def paired(session: Session, ours: Side, theirs: Side, place: Place, unit: str = "/s") -> Pair:
    """Both sides in turn, each as often as the session says; who begins changes with every pair."""
    mine: list[float] = []
    others: list[float] = []
    for number in range(session.runs):
        sides = [(theirs, others), (ours, mine)]
        for side, rates in sides if number % 2 == 0 else reversed(sides):
            with place() as where:
                rates.append(side(where))
    return Pair(figure(unit, mine), figure(unit, others), ratios(mine, others))


@contextmanager
def same(where: str) -> Iterator[str]:
    """A place that stays as it is."""
    yield where


class Incomplete(Exception):
    """A run did not do what it is timed for: fewer records arrived than were sent, say."""


def require_all(found: int, count: int, what: str) -> None:
    """Raise :class:`Incomplete` unless as many were found as there are."""
    if found != count:
        raise Incomplete(f"{found:,} of {count:,} {what}")
