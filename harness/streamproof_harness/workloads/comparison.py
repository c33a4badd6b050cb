"""Compares two answers table by table, and says in rows where they differ."""

from collections.abc import Hashable, Iterator
from itertools import islice

from streamproof_harness.workloads.answer import Answer, Figure, Mean, Members, Table, figure_text
from streamproof_harness.workloads.oracle import Row

SHORT_TABLE = 12
"""A table of at most so many names is shown whole; of a longer one the total and what differs."""

EXAMPLES = 10
"""How many names that differ are shown of each longer table."""


def compare(expected: Answer, received: Answer) -> list[Row]:
    """Rows for each table of two answers of one workload (the same tables in the same order)."""
    rows: list[Row] = []
    for right, got in zip(expected.tables, received.tables, strict=True):
        if isinstance(right, Table) and isinstance(got, Table):
            rows += _table_rows(right, got)
        elif isinstance(right, Members) and isinstance(got, Members):
            rows += _member_rows(right, got)
        else:
            raise TypeError(f"table {right.what!r} has two kinds: {right!r} and {got!r}")
    return rows


def _table_rows(right: Table, got: Table) -> list[Row]:
    if len(right.values) <= SHORT_TABLE:
        shown = islice(_names(right, got), len(right.values) + EXAMPLES)
        return [_figure_row(right, got, name) for name in shown]
    total = Row(
        f"{right.what} by {right.per}, {len(right.values):,} in all{_unit(right)}",
        figure_text(_total(right), right.decimals),
        figure_text(_total(got), right.decimals),
        right.values == got.values,
    )
    if total.is_equal:
        return [total]
    wrong = (name for name in _names(right, got) if right.values.get(name) != got.values.get(name))
    return [total, *(_figure_row(right, got, name) for name in islice(wrong, EXAMPLES))]


def _names(right: Table, got: Table) -> Iterator[Hashable]:
    yield from right.values
    yield from (name for name in got.values if name not in right.values)


def _figure_row(right: Table, got: Table, name: Hashable) -> Row:
    one, other = right.values.get(name), got.values.get(name)
    expected, received = figure_text(one, right.decimals), figure_text(other, right.decimals)
    if expected == received and isinstance(one, Mean) and isinstance(other, Mean) and one != other:
        expected += f" = {one.total}/{one.count}"  # rounded alike: show what they are made of
        received += f" = {other.total}/{other.count}"
    return Row(
        f"{right.what}, {right.per} {right.label(name)}{_unit(right)}", expected, received, one == other
    )


def _unit(table: Table) -> str:
    return f" [{table.unit}]" if table.unit else ""


def _total(table: Table) -> Figure:
    """The sum of all figures; of averages, the average of everything."""
    total, count, has_means = 0, 0, False
    for figure in table.values.values():
        if isinstance(figure, Mean):
            total, count, has_means = total + figure.total, count + figure.count, True
        else:
            total += figure
    return Mean(total, count) if has_means else total


def _member_rows(right: Members, got: Members) -> list[Row]:
    count = len(right.members) + len(right.strays), len(got.members) + len(got.strays)
    is_equal = right.members == got.members and right.strays == got.strays
    rows = [Row(right.what, f"{count[0]:,}", f"{count[1]:,}", is_equal)]
    for name in islice(_only_in(right, got), EXAMPLES):
        rows.append(Row(f"{right.what}, {name}", "yes", "no", False))
    for name in islice(_only_in(got, right), EXAMPLES):
        rows.append(Row(f"{right.what}, {name}", "no", "yes", False))
    return rows


def _only_in(one: Members, other: Members) -> Iterator[str]:
    for number in one.members.minus(other.members):
        yield one.label(number)
    yield from sorted(one.strays - other.strays)
