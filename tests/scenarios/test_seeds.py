"""Many seeds of the transactional scenarios, in memory: none raises a false alarm, and each drains.

Seeds take turns with the colours. The full form runs 200 of them, in processes beside each other.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from streamproof_harness.clients.member import Colour
from streamproof_harness.report.reasons import reasons
from streamproof_harness.runner import run_scenario
from streamproof_scenarios import scenario_named

PARAMETERS = {
    "exactly-once": {"rate": 1000, "seconds": 1.2, "devices": 20},
    "aborts-at-random": {"rate": 1500, "seconds": 0.4, "devices": 20},
    "shared-outputs": {"rate": 1500, "seconds": 0.4, "customers": 50},
    "relay": {"rate": 150, "seconds": 0.6, "customers": 20},
    "nothing-hangs": {"rate": 1000, "seconds": 0.6, "customers": 50},
    "one-id-twice": {"rate": 2000, "seconds": 0.4, "devices": 20},
}


def false_alarm(name: str, seed: int, folder: Path) -> str:
    """What is wrong with this seed's run; nothing if it is as the scenario promises."""
    colour: Colour = "sync" if seed % 2 == 0 else "async"
    history = folder / f"{name}-{seed}-{colour}.jsonl"
    result = run_scenario(
        scenario_named(name),
        "memory://",
        "memory",
        colour,
        seed=seed,
        parameters=PARAMETERS[name],
        history=history,
    )
    if result.is_as_expected:
        history.unlink()
        return ""
    return "\n".join([f"{name}, {colour}, seed {seed}: {result.verdict}", *reasons(result), str(history)])


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_first_seeds(name: str, tmp_path: Path) -> None:
    alarms = [false_alarm(name, seed, tmp_path) for seed in range(3)]
    assert not any(alarms), "\n".join(alarms)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_two_hundred_seeds(name: str, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = pool.map(false_alarm, [name] * 200, range(200), [tmp_path] * 200)
        alarms = [alarm for alarm in found if alarm]
    assert not alarms, "\n".join(alarms)
