"""Workers that are killed (-9) at each step in turn, and what the next attempt finds."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.real.stores import crashing
from tests.real.stores.broken import EarlyMarkGround, LateMarkGround
from tests.real.stores.grounds import Ground, SqliteGround

BOUND_S = 120.0


def crash_at_each_step(ground: Ground, ledger: Path, asks: bool = False) -> list[tuple[str, str, str]]:
    """Key, step and what the attempt after the crash did; the last has no crash."""
    ledger.touch()
    kind = type(ground).__name__.removesuffix("Ground").lower()
    colour = "async" if ground.is_async else "sync"
    done = subprocess.run(
        [
            *(sys.executable, "-m", crashing.__name__),
            *(kind, colour, ground.place, ground.unique, str(ledger), "asks" if asks else ""),
        ],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert done.returncode == 0, done.stderr
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert found[-1][1:] == ("", "applied")
    assert all(step for _, step, _ in found[:-1])
    return found


def test_an_effect_in_the_store_s_transaction_is_applied_once_wherever_it_dies(
    database_ground: Ground, tmp_path: Path
) -> None:
    found = crash_at_each_step(database_ground, tmp_path / "ledger")
    assert {key: database_ground.count(key) for key, _, _ in found} == {key: 1 for key, _, _ in found}
    outcomes = [outcome for _, _, outcome in found]
    # Up to the commit the next attempt has to do it, from there on it must not; both were seen.
    assert set(outcomes) == {"applied", "duplicate"}
    first_duplicate = outcomes.index("duplicate")
    assert set(outcomes[:first_duplicate]) == {"applied"}
    assert set(outcomes[first_duplicate:-1]) == {"duplicate"}
    # BEGIN, mark, effect and COMMIT, each with its two sides.
    assert len(found) > 8


def test_an_effect_apart_from_the_store_is_never_lost_and_in_doubt_where_it_may_be_doubled(
    redis_ground: Ground, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    found = crash_at_each_step(redis_ground, ledger)
    counts = Counter(crashing.lines(str(ledger)))
    doubled = {step for key, step, _ in found if counts[key] == 2}
    assert {counts[key] for key, _, _ in found} == {1, 2}
    # What no store apart from the effect can prevent: it died between the effect and its confirmation.
    assert doubled == {"after the effect", "before EVALSHA"}
    for key, step, outcome in found[:-1]:
        if counts[key] == 2:
            assert outcome == "applied in doubt", step
    # A crash behind the claim leaves a doubt also where nothing had been applied.
    outcomes = Counter(outcome for _, _, outcome in found)
    assert outcomes["applied in doubt"] > len(doubled)
    assert outcomes["duplicate"] >= 1


def test_a_handler_that_asks_in_doubt_applies_once_wherever_it_dies(
    redis_ground: Ground, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    found = crash_at_each_step(redis_ground, ledger, asks=True)
    assert Counter(crashing.lines(str(ledger))) == {key: 1 for key, _, _ in found}
    assert "asked, and left alone" in {outcome for _, _, outcome in found}


@pytest.mark.parametrize(
    ("kind", "wrong"), [(EarlyMarkGround, 0), (LateMarkGround, 2)], ids=["early", "late"]
)
def test_the_enumeration_finds_marks_of_their_own(
    kind: type[SqliteGround], wrong: int, tmp_path: Path
) -> None:
    """In a transaction before the effect they lose it, in one after it they double it."""
    ground = kind(str(tmp_path / "app.db"), "async")
    found = crash_at_each_step(ground, tmp_path / "ledger")
    assert {ground.count(key) for key, _, _ in found} == {1, wrong}
