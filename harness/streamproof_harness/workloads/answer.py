"""The right answer of a workload, and the one that was reached: exact figures, in tables.

All figures are whole numbers; ``decimals`` says where the point stands when they are shown (2143
with two decimals is 21.43). Averages stay fractions, so that equal means equal.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from streamproof_harness.workloads.bits import Bits


@dataclass(frozen=True, slots=True)
class Mean:
    """An average as the sum and the count it is made of."""

    total: int
    count: int


Figure = int | Mean


@dataclass(frozen=True, slots=True)
class Table:
    """One figure for each of several names, e.g. the sum of temperatures of each device.

    ``what`` says what the figures are, ``per`` what the names are, ``unit`` is for show.
    """

    what: str
    per: str
    values: Mapping[Hashable, Figure]
    decimals: int = 0
    unit: str = ""
    label: Callable[[Hashable], str] = field(default=str, compare=False)


@dataclass(frozen=True, slots=True)
class Members:
    """A set, e.g. the alerts: each member is a number, or a name where it has none."""

    what: str
    members: Bits
    label: Callable[[int], str] = field(compare=False)
    strays: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """All tables of one workload, in the order in which they are shown."""

    tables: tuple[Table | Members, ...]

    def __getitem__(self, what: str) -> Table | Members:
        """The table of that name; ``KeyError`` if there is none."""
        for table in self.tables:
            if table.what == what:
                return table
        raise KeyError(what)


def figure_text(figure: Figure | None, decimals: int) -> str:
    """A figure in decimal notation; a missing one as ``–``. Averages are rounded half up."""
    if figure is None:
        return "–"
    if isinstance(figure, int):
        return _point(figure, decimals)
    if figure.count == 0:
        return "–"
    return _point((2 * figure.total * 100 + figure.count) // (2 * figure.count), decimals + 2)


def _point(number: int, decimals: int) -> str:
    if decimals == 0:
        return f"{number:,}"
    whole, rest = divmod(abs(number), 10**decimals)
    return f"{'-' if number < 0 else ''}{whole:,}.{rest:0{decimals}}"
