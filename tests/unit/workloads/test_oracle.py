"""The oracle finds each kind of wrong, names it, and finds nothing where nothing is wrong."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof_harness.workloads import Message, Oracle, OracleReport, Workload, report_lines, workload

NAMES = ["sensors", "clickstream", "orders"]
FIELDS = {"sensors": "temperature", "clickstream": "page", "orders": "total_cents"}


def small(name: str, seed: int = 3) -> Workload:
    sizes = {"devices": 20} if name == "sensors" else {}
    return workload(name, seed=seed, rate=1000, seconds=0.4, **sizes)


def receive(oracle: Oracle, messages: list[Message]) -> None:
    for message in messages:
        oracle.receive(message.id, message.key, message.value)


def report_of(made: Workload, messages: list[Message]) -> OracleReport:
    oracle = made.oracle()
    receive(oracle, messages)
    return oracle.report()


def wrong_rows(report: OracleReport) -> list[str]:
    return [row.what for row in report.rows if not row.is_equal]


@pytest.mark.parametrize("name", NAMES)
def test_everything_once_in_any_order_is_right(name: str) -> None:
    made = small(name)
    messages = list(made.messages())
    random.Random(1).shuffle(messages)
    oracle = made.oracle()
    receive(oracle, messages)
    report = oracle.report()
    assert report.is_right
    assert report.is_complete
    assert wrong_rows(report) == []
    assert oracle.expected() == oracle.received()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_received_is_all_lost(name: str) -> None:
    made = small(name)
    report = made.oracle().report()
    assert report.lost == len(list(made.messages()))
    assert not report.is_right
    assert not report.is_complete


@given(name=st.sampled_from(NAMES), place=st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_one_dropped_is_named(name: str, place: int) -> None:
    made = small(name)
    messages = list(made.messages())
    dropped = messages.pop(place)
    report = report_of(made, messages)
    assert (report.lost, report.doubled, report.corrupted, report.foreign) == (1, 0, 0, 0)
    assert not report.is_right
    assert not report.is_complete
    assert f"lost: {dropped.id}" in wrong_rows(report)
    assert any("in all" in what or "zone" in what for what in wrong_rows(report)), "the sums differ too"


@given(name=st.sampled_from(NAMES), place=st.integers(0, 300), times=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_one_doubled_is_named_and_counted_once(name: str, place: int, times: int) -> None:
    made = small(name)
    messages = list(made.messages())
    oracle = made.oracle()
    receive(oracle, messages + [messages[place]] * times)
    report = oracle.report()
    assert (report.lost, report.doubled, report.corrupted, report.foreign) == (0, times, 0, 0)
    assert wrong_rows(report) == ["doubled", f"doubled: {messages[place].id}"]
    assert not report.is_right
    assert report.is_complete, "at-least-once allows it"
    assert oracle.received() == oracle.expected()


@given(name=st.sampled_from(NAMES), place=st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_one_with_another_value_is_named_with_what_differs(name: str, place: int) -> None:
    made = small(name)
    messages = list(made.messages())
    message, field = messages[place], FIELDS[name]
    content = json.loads(message.value)
    was = content[field]
    content[field] = was + 1 if isinstance(was, int) else "/elsewhere"
    messages[place] = msgspec.structs.replace(message, value=json.dumps(content).encode())
    report = report_of(made, messages)
    assert (report.lost, report.doubled, report.corrupted, report.foreign) == (0, 0, 1, 0)
    row = next(row for row in report.rows if row.what == f"corrupted: {message.id}")
    assert row.expected == f"{field} {was!r}"
    assert row.received == f"{field} {content[field]!r}"
    assert len(wrong_rows(report)) > 2, "the sums differ too"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [None, b"", b"\xff\x00", b"{}", b"[1]", b'{"device":3}', b'{"device":"d00","more":1}']
)
def test_one_with_a_value_that_is_none_is_named(name: str, value: bytes | None) -> None:
    made = small(name)
    messages = list(made.messages())
    message = messages[17]
    oracle = made.oracle()
    receive(oracle, messages[:17] + messages[18:])
    oracle.receive(message.id, message.key, value)
    report = oracle.report()
    assert report.corrupted == 1
    assert f"corrupted: {message.id}" in wrong_rows(report)
    assert report_lines(report)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", [None, b"", b"nobody"])
def test_one_with_another_key_is_named(name: str, key: bytes | None) -> None:
    made = small(name)
    messages = list(made.messages())
    messages[17] = msgspec.structs.replace(messages[17], key=key)
    report = report_of(made, messages)
    assert wrong_rows(report) == ["corrupted", f"corrupted: {messages[17].id}"]


@pytest.mark.parametrize("name", NAMES)
def test_two_that_exchanged_their_values_are_named_although_all_sums_agree(name: str) -> None:
    made = small(name)
    messages = list(made.messages())
    one, other = messages[3], messages[4]
    messages[3] = msgspec.structs.replace(one, key=other.key, value=other.value)
    messages[4] = msgspec.structs.replace(other, key=one.key, value=one.value)
    report = report_of(made, messages)
    assert wrong_rows(report) == ["corrupted", f"corrupted: {one.id}", f"corrupted: {other.id}"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "suffix", ["", "-1", "999999999999999999999", "400", "01", "1_0", " 1", "1 ", "+1", "١", "x", "1~2"]
)
def test_an_id_of_nobody_is_named(name: str, suffix: str) -> None:
    made = small(name)
    messages = list(made.messages())
    oracle = made.oracle()
    receive(oracle, messages)
    oracle.receive(f"{name}-3-{suffix}", messages[0].key, messages[0].value)
    report = oracle.report()
    assert wrong_rows(report) == ["not of this workload", f"not of this workload: {name}-3-{suffix}"]
    assert not report.is_complete


@pytest.mark.parametrize("name", NAMES)
def test_messages_of_another_seed_are_not_of_this_workload(name: str) -> None:
    report = report_of(small(name), list(small(name, seed=4).messages()))
    assert report.foreign == len(list(small(name, seed=4).messages()))
    assert report.lost == len(list(small(name).messages()))


@pytest.mark.parametrize("name", NAMES)
def test_an_excluded_message_is_not_expected_and_must_not_come(name: str) -> None:
    made = small(name)
    messages = list(made.messages())
    oracle = made.oracle()
    oracle.exclude(messages[5].id)
    receive(oracle, messages[:5] + messages[6:])
    assert oracle.report().is_right
    receive(oracle, [messages[5]])
    report = oracle.report()
    assert wrong_rows(report) == ["not of this workload", f"not of this workload: {messages[5].id}"]


def test_only_messages_of_the_workload_can_be_excluded() -> None:
    with pytest.raises(ValueError, match="'sensors-4-1' is no message of this workload"):
        small("sensors").oracle().exclude("sensors-4-1")


def test_many_wrong_ones_are_counted_whole_and_named_in_part() -> None:
    made = small("orders")
    report = report_of(made, list(made.messages())[:100])
    assert report.lost == 300
    assert sum(row.what.startswith("lost: ") for row in report.rows) == 10
    assert sum(row.what.startswith("total, customer") for row in report.rows) == 10


def test_a_corrupted_reading_far_away_costs_no_memory_and_is_a_stray_alert() -> None:
    made = small("sensors")
    messages = list(made.messages())
    content = json.loads(messages[0].value) | {"second": 10**15, "air": 9999}
    messages[0] = msgspec.structs.replace(messages[0], value=json.dumps(content).encode())
    report = report_of(made, messages)
    assert f"alerts, {content['device']} in second {10**15}" in wrong_rows(report)


def test_several_threads_may_receive() -> None:
    made = workload("sensors", devices=20, rate=1000, seconds=4)
    messages = list(made.messages())
    oracle = made.oracle()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: receive(oracle, messages[part::4]), range(4)))
    assert oracle.report().is_right
