"""The `streamproof` command as a user calls it: output, exit statuses, one clear line for bad input."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest


def streamproof(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", "from streamproof_harness.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


def quick(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return streamproof("run", name, "--set", "seconds=0.3", "--rate", "400", *arguments)


def test_list_names_every_scenario_with_its_summary():
    done = streamproof("list")
    assert done.returncode == 0
    assert "lost-messages " in done.stdout
    assert "every group receives every record" in done.stdout


def test_list_as_json_is_one_object_a_line():
    rows = [json.loads(line) for line in streamproof("list", "--json").stdout.splitlines()]
    assert {"fan-out", "poison"} <= {row["name"] for row in rows}
    assert all(row["backends"] for row in rows)


def test_a_run_prints_its_table_and_exits_0():
    done = quick("fan-out")
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()[:2]
    assert header.split() == [
        *("scenario", "backend", "colour", "verdict", "sent/s", "handled/s", "p50", "ms", "p99", "ms"),
    ]
    assert row.split()[:4] == ["fan-out", "memory", "sync", "valid"]


def test_a_run_writes_json_junit_and_the_history(tmp_path: Path):
    junit, history = tmp_path / "junit.xml", tmp_path / "history.jsonl"
    done = quick("fan-out", "--json", "--junit", str(junit), "--history", str(history))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)[0]
    assert result["verdict"] == "valid"
    assert result["judgement"]["checks"]["lost-write"]["verdict"] == "valid"
    assert result["answers"]["payments"]["is_right"]
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("memory.sync", "1", "0")
    judged = streamproof("check", str(history), "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout) == result["judgement"]


def test_several_histories_go_into_a_folder(tmp_path: Path):
    done = quick("fan-out", "--colour", "both", "--history", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    found = sorted(file.name for file in (tmp_path / "runs").iterdir())
    assert found == ["fan-out.memory.async.jsonl", "fan-out.memory.sync.jsonl"]


def test_too_little_evidence_is_unknown_and_exits_4():
    done = streamproof("run", "fan-out", "--set", "seconds=0.05", "--rate", "100")
    assert done.returncode == 4
    assert "the contract asks for" in done.stdout


def test_the_demo_of_a_loss_names_it_and_exits_1():
    done = streamproof("demo", "lost-messages")
    assert done.returncode == 1, done.stderr
    assert "was delivered, and was neither handled nor dead-lettered nor expired" in done.stdout
    assert "verdict: invalid" in done.stdout


def test_the_fixed_demo_exits_0():
    done = streamproof("demo", "lost-messages", "--fix")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: valid" in done.stdout


def test_a_scenario_that_cannot_run_there_says_why():
    done = streamproof("run", "broker-killed", "--backend", "memory")
    assert "lives in the process of its clients" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "no-such-scenario"], 2, "there is no scenario 'no-such-scenario'"),
        (["run", "fan-out", "--backend", "nats://x"], 2, "unknown scheme 'nats'"),
        (["run", "fan-out", "--backend", "kafkaesque"], 2, "is no backend"),
        (["run", "fan-out", "--seed", "-1"], 2, "-1 is not in the range"),
        (["run", "fan-out", "--rate", "0"], 2, "0 is not in the range"),
        (["run", "fan-out", "--set", "rate"], 2, "is not NAME=NUMBER"),
        (["run", "fan-out", "--set", "colour=3"], 2, "no chosen scenario has a parameter 'colour'"),
        (["run", "fan-out", "--set", "seconds=-3"], 2, "out of range"),
        (["check", "/no/such/file.jsonl"], 2, "/no/such/file.jsonl"),
        (["frobnicate"], 2, "No such command"),
        (["run", "fan-out", "--backend", "kafka://127.0.0.1:1"], 3, "127.0.0.1:1"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], status: int, words: str):
    done = streamproof(*arguments, STREAMPROOF_TIMEOUT_S="3")
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_history_is_named_with_its_line(tmp_path: Path):
    history = tmp_path / "cut.jsonl"
    assert quick("fan-out", "--history", str(history)).returncode == 0
    content = history.read_bytes()
    history.write_bytes(content[:-20])
    done = streamproof("check", str(history))
    assert done.returncode == 2
    assert f"line {content.count(bytes([10]))}" in done.stderr


def test_a_file_that_is_no_history_is_refused(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_text("buy milk\n")
    done = streamproof("check", str(file))
    assert done.returncode == 2
    assert "line 1" in done.stderr
