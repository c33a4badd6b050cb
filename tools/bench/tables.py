"""The table, as text for a terminal and as Markdown for the documentation; its head; its file form."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tools.bench.rows import Figure, Row

COLUMNS = ("what", "reached", "beside it", "ratio", "target", "")
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"


class Report(msgspec.Struct, frozen=True):
    """Everything of one call: what it was measured on, and the rows."""

    head: dict[str, str]
    rows: list[Row]


def number(value: float, unit: str) -> str:
    """As many digits as tell something."""
    if unit == "/s":
        digits = 0 if value < 100 else -2 if value < 100_000 else -3
        return f"{round(value, digits):,.0f}/s"
    return f"{value:.2f}{'' if unit == 'x' else unit}"


def shown(figure: Figure | None, what: str = "") -> str:
    """A figure with its spread."""
    if figure is None:
        return what
    unit = figure.unit
    bare = "" if unit == "/s" else "x"
    low, high = (number(value, bare or unit).removesuffix("/s") for value in (figure.lowest, figure.highest))
    found = f"{number(figure.median, unit)} ({low}–{high})"
    return f"{what} {found}" if what else found


def cells(row: Row) -> tuple[str, ...]:
    """One line, column by column."""
    if row.absent:
        return row.what, "–", row.beside_what, "–", _target(row), row.absent
    verdict = {True: "met", False: "short", None: ""}[row.is_met]
    return (
        row.what,
        shown(row.reached) or "–",
        shown(row.beside, row.beside_what),
        shown(row.ratio),
        _target(row),
        "; ".join(filter(None, (verdict, row.note))),
    )


def _target(row: Row) -> str:
    target = row.target
    if target is None:
        return ""
    sign = "≥" if target.is_least else "≤"
    if target.of == "ratio":
        return f"{sign} {target.bound:g} ×"
    unit = row.reached.unit if row.reached is not None else ""
    return f"{sign} {target.bound:,.0f}{unit}"


def text(report: Report) -> str:
    """For a terminal."""
    lines = [f"{name}: {value}" for name, value in report.head.items()]
    table = [COLUMNS, *map(cells, report.rows)]
    # The last column is as long as it likes.
    widths = [max(len(row[index]) for row in table) for index in range(len(COLUMNS) - 1)]
    for row in table:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    lines.insert(len(report.head) + 1, "-" * (sum(widths) + 2 * len(widths) + 5))
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """For a page."""
    lines = [f"- {name}: {value}" for name, value in report.head.items()]
    lines += ["", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(cells(row)) for row in report.rows]
    return "\n".join(lines)


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def write_page(page: Path, report: Report) -> None:
    """Put the table in place of the one in the page, between its two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: a line {_BEGIN} and a line {_END}")
    page.write_text(f"{before}{begin}\n\n{markdown(report)}\n\n{end}{after}", encoding="utf-8")


def save(file: Path, report: Report) -> None:
    """Write the report as JSON."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def load(file: Path) -> Report:
    """Read a report that was saved."""
    return msgspec.json.decode(file.read_bytes(), type=Report)
