"""Arguments of sends, acks and commits: brought into one form, or refused with a reason."""

from collections.abc import Callable
from typing import Any

import pytest

from streamproof.checks import (
    as_bytes,
    as_headers,
    as_offsets,
    as_outgoing,
    as_partitions,
    require_count,
    require_place,
    require_record,
    require_topic_name,
)
from streamproof.errors import SerializationError, UsageError
from streamproof.records import AtTime, Outgoing, Record, TopicPartition, position_of
from streamproof.serialization import encoder


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249, "..."])
def test_topic_names_that_kafka_takes(name: str) -> None:
    require_topic_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a b", "ü", "a/b", "a\n", None, 7, b"a"])
def test_topic_names_that_kafka_refuses(name: object) -> None:
    with pytest.raises(UsageError, match="topic"):
        require_topic_name(name)


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_what_holds_bytes_becomes_bytes(value: object) -> None:
    found = as_bytes(value, "value")
    assert (type(found), found) == (bytes, b"x")


@pytest.mark.parametrize("value", ["x", 1, None, [1], {"a": 1}])
def test_what_holds_none_is_refused_with_the_remedy(value: object) -> None:
    with pytest.raises(UsageError, match=r"bus\.producer\(key='json'\)"):
        as_bytes(value, "key")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ()),
        ({"a": "ü", "b": b"\x00", "c": None}, (("a", "ü".encode()), ("b", b"\x00"), ("c", None))),
        ([("a", b"1"), ("a", b"2"), ("a", None)], (("a", b"1"), ("a", b"2"), ("a", None))),
        ([("a", bytearray(b"1"))], (("a", b"1"),)),
    ],
)
def test_headers_become_pairs_in_their_order(given: Any, expected: object) -> None:
    assert as_headers(given) == expected


@pytest.mark.parametrize(
    "given", ["ab", [("a",)], [("a", b"1", 2)], [1], 7, [(1, b"x")], {b"a": b"x"}, {"a": 1}, [("a", [1])]]
)
def test_headers_that_are_none(given: Any) -> None:
    with pytest.raises(UsageError, match="header"):
        as_headers(given)


class TestOutgoing:
    def test_checked_records_pass_uncopied(self) -> None:
        records = [Outgoing(b"v", b"k"), Outgoing(b"v", partition=1, timestamp_ms=2)]
        assert as_outgoing(records, None, None) is records

    def test_values_and_pairs_become_records(self) -> None:
        assert list(as_outgoing([b"v", (b"k", None), Outgoing(None)], None, None)) == [
            Outgoing(b"v"),
            Outgoing(None, b"k"),
            Outgoing(None),
        ]

    def test_headers_are_brought_into_form(self) -> None:
        [record] = as_outgoing([Outgoing(b"v", headers={"a": "1"})], None, None)  # type: ignore[arg-type]
        assert record.headers == (("a", b"1"),)

    def test_formats_are_applied(self) -> None:
        [record] = as_outgoing([({"a": 1}, "text")], encoder("json"), encoder("text"))
        assert (record.key, record.value) == (b'{"a":1}', b"text")
        with pytest.raises(SerializationError):
            as_outgoing([7], None, encoder("text"))

    def test_any_iterable_of_records_will_do(self) -> None:
        given: Any = (value for value in (b"1", b"2"))
        assert [record.value for record in as_outgoing(given, None, None)] == [b"1", b"2"]

    @pytest.mark.parametrize(
        "given",
        [
            "text",
            b"bytes",
            {"a": 1},
            7,
            None,
            ["text"],
            [(b"k", b"v", b"x")],
            [Outgoing(b"v", "key")],
            [Outgoing(b"v", partition="0")],  # type: ignore[arg-type]
            [Outgoing(b"v", partition=-1)],
            [Outgoing(b"v", timestamp_ms=1.5)],  # type: ignore[arg-type]
            [Outgoing(b"v", headers="ab")],  # type: ignore[arg-type]
        ],
    )
    def test_what_cannot_be_sent_is_refused(self, given: Any) -> None:
        with pytest.raises(UsageError):
            as_outgoing(given, None, None)


@pytest.mark.parametrize(("partition", "timestamp_ms"), [(None, None), (0, None), (None, 0), (7, 7)])
def test_places_that_can_be(partition: int | None, timestamp_ms: int | None) -> None:
    require_place(partition, timestamp_ms)


@pytest.mark.parametrize("wrong", [-1, "0", 1.0, True, b"1"])
def test_places_that_cannot(wrong: object) -> None:
    with pytest.raises(UsageError, match="partition"):
        require_place(wrong, None)
    with pytest.raises(UsageError, match="timestamp_ms"):
        require_place(None, wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.0, "1", None, True])
def test_counts_that_cannot_be(wrong: object) -> None:
    require_count("max_records", 1)
    with pytest.raises(UsageError, match="max_records"):
        require_count("max_records", wrong)


@pytest.mark.parametrize("wrong", [None, "text", (b"k", b"v"), Outgoing(b"v")])
def test_what_is_given_back_is_a_record(wrong: object) -> None:
    require_record(Record("t", 0, 0, None, None))
    with pytest.raises(UsageError, match="poll"):
        require_record(wrong)


LOG = TopicPartition("t", 0)


def test_logs_may_be_plain_pairs() -> None:
    assert as_partitions([LOG, ("t", 1)]) == (LOG, TopicPartition("t", 1))
    found = as_offsets({("t", 0): 5})
    assert found == {LOG: 5}
    assert all(type(log) is TopicPartition for log in found)


@pytest.mark.parametrize(
    ("bring", "wrong"),
    [
        (as_partitions, 7),
        (as_partitions, [7]),
        (as_partitions, "ab"),
        (as_partitions, [("t", "0")]),
        (as_partitions, [("t", 0, 1)]),
        (as_offsets, [LOG]),
        (as_offsets, {LOG: -1}),
        (as_offsets, {LOG: "5"}),
        (as_offsets, {LOG: None}),
        (as_offsets, {LOG: True}),
        (as_offsets, {"t": 5}),
    ],
)
def test_logs_and_offsets_that_are_none(bring: Callable[[Any], object], wrong: object) -> None:
    with pytest.raises(UsageError):
        bring(wrong)


def test_places_in_a_log() -> None:
    from datetime import UTC, datetime

    assert [position_of(place) for place in (0, 7, "beginning", "end")] == [0, 7, "beginning", "end"]
    assert position_of(AtTime(5)) == AtTime(5)
    assert position_of(datetime(2024, 1, 1, tzinfo=UTC)) == AtTime(1_704_067_200_000)


@pytest.mark.parametrize("wrong", [-1, 1.5, "start", None, True, (0,)])
def test_what_is_no_place_in_a_log(wrong: Any) -> None:
    with pytest.raises(UsageError, match="place"):
        position_of(wrong)


def test_a_time_needs_its_zone() -> None:
    from datetime import datetime

    with pytest.raises(UsageError, match="time zone"):
        position_of(datetime(2024, 1, 1))
