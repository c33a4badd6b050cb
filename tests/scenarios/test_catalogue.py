"""Every scenario of the catalogue on every backend, in both colours: its verdict is the promised one.

Each run is judged by its history alone; a control scenario that must fail has to fail.
"""

from pathlib import Path

import pytest

from streamproof_harness.clients.member import Colour
from streamproof_harness.report.reasons import reasons
from streamproof_harness.runner import run_scenario
from streamproof_harness.scenario import Backend, Scenario
from streamproof_scenarios import catalogue
from tests.conftest import StartPrivate

COLOURS: tuple[Colour, ...] = ("sync", "async")


def _runs(backend: Backend) -> list[object]:
    return [
        pytest.param(scenario, colour, id=f"{name}-{colour}")
        for name, scenario in catalogue().items()
        if backend in scenario.backends
        for colour in COLOURS
        if colour in scenario.colours
    ]


def _show(scenario: Scenario, url: str, backend: Backend, colour: Colour, folder: Path, server=None) -> None:
    result = run_scenario(
        scenario, url, backend, colour, seed=1, history=folder / "history.jsonl", server=server
    )
    assert result.is_as_expected, "\n".join([f"verdict {result.verdict}", *reasons(result)])


@pytest.mark.parametrize(("scenario", "colour"), _runs("memory"))
def test_in_memory(scenario: Scenario, colour: Colour, tmp_path: Path) -> None:
    _show(scenario, "memory://", "memory", colour, tmp_path)


@pytest.mark.parametrize(("scenario", "colour"), _runs("kafka"))
def test_on_kafka(
    scenario: Scenario,
    colour: Colour,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    start_private: StartPrivate,
) -> None:
    _on_broker(scenario, "kafka", colour, tmp_path, request, start_private)


@pytest.mark.parametrize(("scenario", "colour"), _runs("rabbitmq"))
def test_on_rabbitmq(
    scenario: Scenario,
    colour: Colour,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    start_private: StartPrivate,
) -> None:
    _on_broker(scenario, "rabbitmq", colour, tmp_path, request, start_private)


def _on_broker(
    scenario: Scenario,
    backend: Backend,
    colour: Colour,
    folder: Path,
    request: pytest.FixtureRequest,
    start_private: StartPrivate,
) -> None:
    if scenario.harms_broker:
        server = start_private(backend)
        _show(scenario, server.url, backend, colour, folder, server)
    else:
        _show(scenario, request.getfixturevalue(f"{backend}_url"), backend, colour, folder)
