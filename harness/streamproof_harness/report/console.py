"""Results on a terminal: a bar while running, a table at the end; plain lines elsewhere."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamproof_harness.report.reasons import reasons
from streamproof_harness.runner import Result

_UNBOUNDED = 200
_STYLE = {"valid": "green", "invalid": "red", "unknown": "yellow"}


class Console:
    """Shows runs as they go. Honours NO_COLOR; writes progress to standard error."""

    def __init__(self, count: int, *, is_quiet: bool = False) -> None:
        self._out = RichConsole(file=sys.stdout, highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            # Nobody wraps a file or a pipe: a table there is as wide as it is.
            self._out.width = _UNBOUNDED
        self._err = RichConsole(file=sys.stderr, highlight=False, soft_wrap=True)
        self._is_quiet = is_quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
            disable=not self._err.is_terminal,
        )
        self._task = self._progress.add_task("", total=count)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, label: str) -> None:
        """A run begins."""
        self._progress.update(self._task, description=label)

    def show(self, result: Result) -> Result:
        """A run ended."""
        self._progress.advance(self._task)
        if not self._is_quiet and not self._err.is_terminal:
            mark = "as expected" if result.is_as_expected else "NOT as expected"
            self._err.print(f"{label(result)}: {result.verdict}, {mark}", markup=False)
        return result

    def summary(self, results: Sequence[Result], skipped: Sequence[tuple[str, str, str]]) -> None:
        """The table, and beneath it what needs words."""
        self._out.print(results_table(results))
        for scenario, backend, reason in skipped:
            self._out.print(f"– {scenario} on {backend}: {reason}", markup=False)
        for result in results:
            for line in result.lines:
                self._out.print(
                    f"{result.scenario} · {result.backend} · {result.colour}: {line}", markup=False
                )
        for result in results:
            if not result.is_as_expected:
                self._out.print(f"\n{label(result)} (seed {result.seed}):", style="bold", markup=False)
                for line in reasons(result):
                    self._out.print(f"  {line}", markup=False)
                self._out.print(f"  history: {result.history}", markup=False)


def label(result: Result) -> str:
    """Which run it was."""
    return f"{result.scenario} · {result.backend} · {result.colour}"


def results_table(results: Sequence[Result]) -> Table:
    """Scenario × backend with verdict, rates and latencies from the intended time of the sends."""
    table = Table(box=None, pad_edge=False)
    for name in ("scenario", "backend", "colour", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in ("sent/s", "handled/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        measures = result.measures
        figures = ["–"] * 4
        if measures is not None:
            figures = [
                _number(measures.sent_per_s, 1, 0),
                _number(measures.handled_per_s, 1, 0),
                _number(measures.latency_p50_s, 1000, 2),
                _number(measures.latency_p99_s, 1000, 2),
            ]
        verdict = result.verdict + ("" if result.is_as_expected else " !")
        if result.expects != "valid" and result.is_as_expected:
            verdict += " (as it must)"
        if result.instead:
            verdict += f" ({result.instead})"
        style = _STYLE[result.expects if result.is_as_expected else result.verdict]
        style = "green" if result.is_as_expected else style
        table.add_row(result.scenario, result.backend, result.colour, f"[{style}]{verdict}[/]", *figures)
    return table


def _number(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:,.{digits}f}"
