"""Workloads are found by name, and what is wrong is told in one error."""

import json

import pytest

from streamproof.errors import ConfigurationError
from streamproof_harness.workloads import WORKLOADS, workload

NAMES = ["sensors", "clickstream", "orders"]


def test_all_are_there() -> None:
    assert list(WORKLOADS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_survive_json_and_make_an_equal_workload(name: str) -> None:
    first = workload(name, seed=5, rate=100, seconds=1.5)
    again = workload(name, **json.loads(json.dumps(dict(first.parameters))))
    assert again.parameters == first.parameters
    assert set(first.parameters) == set(WORKLOADS[name].parameter_names)
    assert list(again.messages()) == list(first.messages())
    assert first.name == name
    assert first.topic == first.parameters["topic"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("seed", -1),
        ("seed", 2**63),
        ("seed", "7"),
        ("seed", True),
        ("seed", 1.0),
        ("rate", 0),
        ("rate", 10_000_001),
        ("rate", None),
        ("seconds", -1),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", "10"),
        ("epoch_ms", -1),
        ("topic", ""),
        ("topic", 3),
    ],
)
def test_what_every_workload_takes_is_checked(name: str, parameter: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=parameter):
        workload(name, **{parameter: value})


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("sensors", "devices", 0),
        ("sensors", "zones", 1001),
        ("sensors", "safe_air", 3.5),
        ("sensors", "late", 1.1),
        ("sensors", "missing", -0.1),
        ("sensors", "bursts", "often"),
        ("sensors", "spikes", 2),
        ("clickstream", "users", 0),
        ("clickstream", "pages", 2_000_000),
        ("clickstream", "sessions", False),
        ("clickstream", "user_exponent", 1.1),
        ("clickstream", "page_exponent", 5),
        ("clickstream", "pace", 0),
        ("clickstream", "late", float("nan")),
        ("orders", "customers", 0),
        ("orders", "products", 0.5),
    ],
)
def test_what_one_workload_takes_is_checked(name: str, parameter: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=parameter):
        workload(name, **{parameter: value})


def test_no_room_for_a_message() -> None:
    with pytest.raises(ConfigurationError, match="leaves room for no message; raise rate or seconds"):
        workload("orders", rate=3, seconds=0.3)


def test_late_and_missing_together() -> None:
    with pytest.raises(ConfigurationError, match="more than 1 together"):
        workload("sensors", late=0.6, missing=0.6)


def test_an_unknown_workload_or_parameter_names_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="no workload 'sensor'; did you mean 'sensors'"):
        workload("sensor")
    with pytest.raises(ConfigurationError, match="no workload 'x'; choose from sensors, clickstream, orders"):
        workload("x")
    with pytest.raises(ConfigurationError, match="no parameter 'device'; did you mean 'devices'"):
        workload("sensors", device=3)
