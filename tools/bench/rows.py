"""What a measurement gives: figures, and whether they reach what was aimed at."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal

import msgspec

Of = Literal["reached", "ratio"]


class Figure(msgspec.Struct, frozen=True):
    """The median of several runs, and the lowest and highest of them."""

    unit: str
    median: float
    lowest: float
    highest: float


class Target(msgspec.Struct, frozen=True):
    """What is aimed at: a bound of the figure reached, or of its ratio to the one beside it."""

    of: Of
    is_least: bool
    bound: float


class Row(msgspec.Struct, frozen=True):
    """One line of the table. ``absent`` says why nothing was measured."""

    name: str
    what: str
    reached: Figure | None = None
    beside_what: str = ""
    beside: Figure | None = None
    ratio: Figure | None = None
    target: Target | None = None
    note: str = ""
    absent: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; ``None`` without a target or a figure."""
        if self.target is None:
            return None
        figure = self.ratio if self.target.of == "ratio" else self.reached
        if figure is None:
            return None
        bound = self.target.bound
        return figure.median >= bound if self.target.is_least else figure.median <= bound


def figure(unit: str, values: Iterable[float]) -> Figure:
    """The figure of these runs."""
    found = sorted(values)
    return Figure(unit, median(found), found[0], found[-1])


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Of each pair of runs."""
    return figure("x", [mine / other for mine, other in zip(ours, theirs, strict=True)])


def at_least(of: Of, bound: float) -> Target:
    """The figure or the ratio is to be that high."""
    return Target(of, True, bound)


def at_most(of: Of, bound: float) -> Target:
    """The figure or the ratio is to be that low."""
    return Target(of, False, bound)
