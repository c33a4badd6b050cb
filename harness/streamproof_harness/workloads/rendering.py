"""An oracle's report as plain text: what was expected beside what was received."""

from streamproof_harness.workloads.oracle import OracleReport, Row

WIDEST_FIGURE = 60
WIDEST_WHAT = 80


def report_lines(report: OracleReport) -> list[str]:
    """A table of three columns, one line a row; rows that differ end in ``differs``.

    Longer texts are cut (the rows of the report hold them whole). No colours, no trailing blanks.
    """
    head = Row("", "expected", "received", True)
    rows = [_cut(row) for row in (head, *report.rows)]
    widths = [max(map(len, column)) for column in zip(*(row[:3] for row in rows), strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    return lines


def _line(row: Row, widths: list[int]) -> str:
    what, expected, received = widths
    line = f"{row.what:<{what}} | {row.expected:>{expected}} | {row.received:>{received}}"
    return line if row.is_equal else f"{line}  differs"


def _cut(row: Row) -> Row:
    return Row(
        _shortened(row.what, WIDEST_WHAT),
        _shortened(row.expected, WIDEST_FIGURE),
        _shortened(row.received, WIDEST_FIGURE),
        row.is_equal,
    )


def _shortened(text: str, width: int) -> str:
    printable = "".join(letter if letter.isprintable() else "�" for letter in text)
    return printable if len(printable) <= width else printable[: width - 1] + "…"
