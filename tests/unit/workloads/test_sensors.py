"""The sensors send what they should, when they should, and the oracle knows it."""

import json
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof_harness.workloads import Mean, Members, Message, workload

SHARES = st.sampled_from([0, 0.01, 0.3])


def readings_of(messages: list[Message]) -> list[dict[str, int | str]]:
    return [json.loads(message.value) for message in messages]


@given(
    seed=st.integers(0, 2**63 - 1),
    devices=st.integers(1, 40),
    zones=st.integers(1, 12),
    count=st.integers(1, 600),
    late=SHARES,
    missing=SHARES,
    bursts=SHARES,
    spikes=st.sampled_from([0, 0.2, 1]),
    safe_air=st.integers(800, 6000),
)
@settings(max_examples=60, deadline=None)
def test_the_expected_answer_is_that_of_adding_up_by_hand(count, safe_air, **parameters) -> None:
    made = workload("sensors", rate=1000, seconds=(count + 0.5) / 1000, safe_air=safe_air, **parameters)
    sums, zones, counts = defaultdict(int), defaultdict(lambda: [0, 0]), defaultdict(int)
    alerts = set()
    for reading in readings_of(list(made.messages())):
        counts[reading["device"]] += 1
        for kind in ("temperature", "traffic", "air"):
            sums[kind, reading["device"]] += reading[kind]
            zones[kind, reading["zone"]][0] += reading[kind]
            zones[kind, reading["zone"]][1] += 1
        if reading["air"] > safe_air:
            alerts.add(f"{reading['device']} in second {reading['second']}")
    expected = made.oracle().expected()
    assert expected["readings"].values == counts
    for kind in ("temperature", "traffic", "air"):
        assert expected[f"sum of {kind}"].values == {d: s for (k, d), s in sums.items() if k == kind}
        means = {z: Mean(*pair) for (k, z), pair in zones.items() if k == kind}
        assert expected[f"average {kind}"].values == means
    found = expected["alerts"]
    assert isinstance(found, Members)
    assert {found.label(number) for number in found.members} == alerts
    assert found.strays == frozenset()


def test_without_trouble_every_device_reports_every_second_on_time() -> None:
    made = workload("sensors", devices=20, rate=100, seconds=2, late=0, missing=0, bursts=0)
    messages = list(made.messages())
    seen = [(reading["second"], reading["device"]) for reading in readings_of(messages)]
    assert seen == [(second, f"d{device:02}") for second in range(10) for device in range(20)]
    assert [message.due_ns for message in messages] == [number * 10_000_000 for number in range(200)]
    assert [message.timestamp_ms - messages[0].timestamp_ms for message in messages[:3]] == [0, 50, 100]
    assert [message.seq for message in messages] == [number // 20 for number in range(200)]
    assert all(message.amount == json.loads(message.value)["traffic"] for message in messages)


def test_the_defaults_are_ten_thousand_devices_once_a_second() -> None:
    made = workload("sensors", seconds=1, missing=0)
    messages = list(made.messages())
    assert len({message.key for message in messages}) == len(messages) == 10_000
    assert {json.loads(message.value)["zone"] for message in messages} == {f"z{zone}" for zone in range(10)}


def test_a_late_reading_comes_two_to_eight_seconds_behind_newer_ones() -> None:
    made = workload("sensors", devices=50, rate=50, seconds=100, late=0.1, missing=0, bursts=0)
    late_s = []
    for message in made.messages():
        due_s, measured_s = message.due_ns // 10**9, json.loads(message.value)["second"]
        if due_s != measured_s and due_s < 100:
            late_s.append(due_s - measured_s)
    assert set(late_s) == {2, 3, 4, 5, 6, 7, 8}
    assert 400 < len(late_s) < 600


def test_a_missing_reading_is_neither_sent_nor_expected() -> None:
    made = workload("sensors", devices=50, rate=50, seconds=100, late=0, missing=0.1, bursts=0)
    messages = list(made.messages())
    assert 4400 < len(messages) < 4600
    assert made.message_limit == 5000
    sent = {message.id for message in messages}
    missing = next(f"sensors-0-{number}" for number in range(5000) if f"sensors-0-{number}" not in sent)
    oracle = made.oracle()
    oracle.receive(missing, messages[0].key, messages[0].value)
    assert oracle.report().foreign == 1


def test_a_burst_sends_the_readings_of_a_window_at_once_in_their_order() -> None:
    made = workload("sensors", devices=50, rate=50, seconds=100, late=0, missing=0, bursts=0.2)
    bursts = defaultdict(list)
    for message in made.messages():
        reading = json.loads(message.value)
        if message.due_ns // 10**9 != reading["second"] and message.due_ns < 95 * 10**9:
            bursts[reading["device"], message.due_ns].append(reading["second"])
    assert 140 < len(bursts) < 240
    for (_, due_ns), seconds in bursts.items():
        end_s = due_ns // 10**9
        assert end_s % 5 == 0
        assert seconds == list(range(end_s - 5, end_s))


def test_what_is_held_back_at_the_end_is_due_at_the_end() -> None:
    made = workload("sensors", devices=10, rate=10, seconds=3, late=1, missing=0, bursts=0)
    messages = list(made.messages())
    assert len(messages) == 30
    assert max(message.due_ns for message in messages) == 3 * 10**9


def test_pollution_spikes_raise_alerts_in_some_zones_for_some_seconds() -> None:
    made = workload("sensors", devices=100, rate=100, seconds=100, spikes=0.1)
    alerts = defaultdict(set)
    for message in made.messages():
        reading = json.loads(message.value)
        if reading["air"] > 3500:
            alerts[reading["zone"]].add(reading["second"])
    assert alerts
    assert all(len(seconds) <= 100 * 15 // 20 for seconds in alerts.values())
    calm = workload("sensors", devices=100, rate=100, seconds=100, spikes=0)
    assert len(calm.oracle().expected()["alerts"].members) == 0


@pytest.mark.parametrize(("second", "is_warm"), [(4 * 3600, False), (14 * 3600, True)])
def test_afternoons_are_warmer_than_nights(second: int, is_warm: bool) -> None:
    made = workload("sensors", devices=1, rate=86_400, seconds=1, late=0, missing=0, bursts=0)
    readings = readings_of(list(made.messages()))
    mean = sum(reading["temperature"] for reading in readings) / len(readings)
    assert (readings[second]["temperature"] > mean) == is_warm


def test_an_alert_is_a_reading_above_the_safe_level_not_one_at_it() -> None:
    sizes = {"devices": 1, "rate": 1, "seconds": 1, "missing": 0}
    (only,) = readings_of(list(workload("sensors", **sizes).messages()))
    for safe_air, alerts in ((only["air"], 0), (only["air"] - 1, 1)):
        answer = workload("sensors", safe_air=safe_air, **sizes).oracle().expected()
        assert len(answer["alerts"].members) == alerts
