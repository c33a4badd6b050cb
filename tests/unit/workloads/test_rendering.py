"""A report is printed as a table of what was expected beside what was received."""

import pytest

from streamproof_harness.workloads import Mean, OracleReport, Row, report_lines
from streamproof_harness.workloads.answer import Answer, Table, figure_text
from streamproof_harness.workloads.comparison import compare


def test_a_report_as_text() -> None:
    rows = (Row("messages", "3", "2", False), Row("corrupted", "0", "0", True))
    assert report_lines(OracleReport(rows, 1, 0, 0, 0)) == [
        "          | expected | received",
        "----------+----------+---------",
        "messages  |        3 |        2  differs",
        "corrupted |        0 |        0",
    ]


def test_long_and_unprintable_texts_are_cut_to_one_line() -> None:
    rows = (Row("a\nb" + "x" * 200, "e" * 100, "\x1b[31m", False),)
    lines = report_lines(OracleReport(rows, 0, 0, 1, 0))
    assert len(lines) == 3
    assert lines[2].startswith("a�bxxx")
    assert "…" in lines[2]
    assert "\x1b" not in lines[2]
    assert len(lines[2]) < 220


@pytest.mark.parametrize(
    ("figure", "decimals", "text"),
    [
        (0, 0, "0"),
        (1234567, 0, "1,234,567"),
        (-5, 2, "-0.05"),
        (123456, 2, "1,234.56"),
        (Mean(1, 3), 0, "0.33"),
        (Mean(1, 8), 0, "0.13"),
        (Mean(2143, 1), 2, "21.4300"),
        (Mean(-3, 2), 0, "-1.50"),
        (Mean(0, 0), 0, "–"),
        (None, 2, "–"),
    ],
)
def test_figures(figure: int | Mean | None, decimals: int, text: str) -> None:
    assert figure_text(figure, decimals) == text


def test_averages_that_round_alike_are_shown_as_what_they_are_made_of() -> None:
    right = Answer((Table("average", "zone", {"z0": Mean(300_000, 3000)}),))
    got = Answer((Table("average", "zone", {"z0": Mean(299_900, 2999)}),))
    assert compare(right, got) == [
        Row("average, zone z0", "100.00 = 300000/3000", "100.00 = 299900/2999", False)
    ]


def test_what_only_one_side_has_is_a_dash_on_the_other() -> None:
    right, got = Answer((Table("sum", "key", {"a": 1}),)), Answer((Table("sum", "key", {"b": 1}),))
    assert compare(right, got) == [Row("sum, key a", "1", "–", False), Row("sum, key b", "–", "1", False)]


def test_a_long_table_is_its_total_and_what_differs() -> None:
    right = Answer((Table("sum", "key", dict.fromkeys(range(100), 1), unit="m"),))
    got = Answer((Table("sum", "key", dict.fromkeys(range(99), 1) | {98: 2}, unit="m"),))
    assert compare(right, got) == [
        Row("sum by key, 100 in all [m]", "100", "100", False),
        Row("sum, key 98 [m]", "1", "2", False),
        Row("sum, key 99 [m]", "1", "–", False),
    ]


def test_an_answer_knows_its_tables_by_name() -> None:
    answer = Answer((Table("sum", "key", {}),))
    assert answer["sum"] is answer.tables[0]
    with pytest.raises(KeyError):
        answer["product"]
