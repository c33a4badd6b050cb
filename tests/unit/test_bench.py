"""The benchmarks run, in their smallest form and without a broker; nothing here looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``./dev bench`` without its set-up."""
    path = os.pathsep.join([str(ROOT / room) for room in ("adapters", "harness", "scenarios")])
    return subprocess.run(
        [sys.executable, "-m", "tools.bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def smallest(tmp_path_factory) -> Path:
    """The figures of everything that needs no broker, each taken once of a hundred records or so."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    chosen = ("memory", "recording", "checking")
    only = [part for name in chosen for part in ("--only", name)]
    done = bench(*only, "--runs", "1", "--fraction", "0.0002", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "send_many" in done.stdout
    return file


def test_every_measurement_without_a_broker_gives_figures(smallest):
    rows = {row["name"]: row for row in json.loads(smallest.read_text())["rows"]}
    assert set(rows) == {
        *(f"memory-{what}-{keys}" for what in ("send", "send-many", "poll") for keys in (10_000, 1_000_000)),
        *(f"latency-memory-{colour}" for colour in ("sync", "async")),
        *(f"recording-{what}" for what in ("send", "handle", "poll")),
        *(f"checking-{size}" for size in ("small", "large")),
    }
    for row in rows.values():
        assert row["absent"] == ""
        assert 0 < row["reached"]["lowest"] <= row["reached"]["median"] <= row["reached"]["highest"]


def test_the_head_says_what_was_measured_on(smallest):
    head = json.loads(smallest.read_text())["head"]
    assert f"{len(os.sched_getaffinity(0))} cores" in head["machine"]
    assert ".".join(map(str, sys.version_info[:3])) in head["Python"]
    assert "confluent-kafka" in head["libraries"]


def test_the_table_goes_into_the_page_and_nothing_else_changes(smallest, tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE.read_text())
    done = bench("--read", str(smallest), "--write", str(page))
    assert done.returncode == 0, done.stderr
    before, _, rest = page.read_text().partition("<!-- table: begin -->")
    table, _, after = rest.partition("<!-- table: end -->")
    assert PAGE.read_text().startswith(before)
    assert PAGE.read_text().endswith(after)
    assert "| In memory: send, 10,000 keys |" in table


def figure(median: float, unit: str = "/s") -> dict[str, object]:
    return {"unit": unit, "median": median, "lowest": median / 2, "highest": median * 2}


def test_a_ratio_below_its_target_is_called_short(tmp_path):
    target = {"of": "ratio", "is_least": True, "bound": 0.85}
    rows = [
        {
            "name": name,
            "what": name,
            "reached": figure(1000),
            "beside_what": "bare",
            "beside": figure(1000),
            "ratio": figure(ratio, "x"),
            "target": target,
        }
        for name, ratio in (("just", 0.85), ("below", 0.84))
    ]
    absent = {"name": "gone", "what": "gone", "target": target, "absent": "not measured: no kafka"}
    slow = {
        "name": "slow",
        "what": "slow",
        "reached": figure(12.0, " ms"),
        "target": {"of": "reached", "is_least": False, "bound": 10},
    }
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({"head": {"machine": "mine"}, "rows": [*rows, absent, slow]}))
    done = bench("--read", str(file))
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert lines["just"][-1] == "met"
    assert lines["below"][-1] == "short"
    assert lines["slow"][-1] == "short"
    assert " ".join(lines["gone"]).endswith("not measured: no kafka")
    assert lines["machine:"] == ["machine:", "mine"]


def test_a_broker_that_is_not_there_is_said_and_fails_nothing():
    done = bench("--only", "kafka-send", "--runs", "1", STREAMPROOF_KAFKA_URL="kafka://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("kafka-send ")]
    assert "not measured" in line
    assert "127.0.0.1:1" in line


def test_a_measurement_that_fails_shows_in_the_exit_status():
    done = bench(
        "--only", "memory-poll", "--runs", "1", "--fraction", "0.0001", STREAMPROOF_TIMEOUT_S="never"
    )
    assert done.returncode == 1
    assert "failed: ConfigurationError" in done.stdout


@pytest.mark.parametrize("wrong", [("--runs", "0"), ("--fraction", "-1"), ("--only", "nothing-like-it")])
def test_what_cannot_be_measured_is_refused(wrong):
    done = bench(*wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
