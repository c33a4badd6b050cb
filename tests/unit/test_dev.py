"""The script that sets everything up: what it redoes and when, what it installs, what it says."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "dev"


@pytest.fixture
def dev(tmp_path, monkeypatch):
    """The script as a module, its set-up in an empty directory."""
    loader = importlib.machinery.SourceFileLoader("dev", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("dev", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    for name, place in {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "LOCK": tmp_path / "requirements.lock",
        "PYPROJECT": tmp_path / "pyproject.toml",
        "SERVICE_POLICY": tmp_path / "policy-rc.d",
    }.items():
        setattr(module, name, place)
    module.VENV.mkdir()
    module.LOCK.write_text("one==1\n")
    module.PYPROJECT.write_text("[project]\n")
    return module


@pytest.fixture
def steps(dev, monkeypatch):
    """What set-up does, in order; a step that is in ``failing`` fails."""
    done, failing = [], set()

    def step(name):
        if name in failing:
            raise subprocess.CalledProcessError(1, name)
        done.append(name)

    def make_venv():
        step("python")
        dev._stamp("python")

    monkeypatch.setattr(dev, "_make_venv", make_venv)
    monkeypatch.setattr(
        dev, "_pip", lambda *given: step("lock" if "--require-hashes" in given else "project")
    )
    return done, failing


def executable(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_everything_is_set_up_once(dev, steps):
    done, _ = steps
    dev.setup()
    dev.setup()
    assert done == ["python", "lock", "project"]


@pytest.mark.parametrize(
    ("changed", "redone"),
    [("LOCK", ["lock"]), ("PYPROJECT", ["project"]), ("VENV", ["python", "lock", "project"])],
)
def test_only_what_changed_is_done_again(dev, steps, changed, redone):
    done, _ = steps
    dev.setup()
    done.clear()
    place = getattr(dev, changed)
    (place / ".stamp-python" if place.is_dir() else place).write_text("changed")
    dev.setup()
    assert done == redone


@pytest.mark.parametrize("interrupted", ["python", "lock", "project"])
def test_an_interrupted_step_is_done_again(dev, steps, interrupted):
    done, failing = steps
    failing.add(interrupted)
    with pytest.raises(subprocess.CalledProcessError):
        dev.setup()
    failing.clear()
    dev.setup()
    assert done == ["python", "lock", "project"]


def test_what_is_missing_is_installed_without_starting_services(dev, tmp_path, monkeypatch):
    programs, trace = tmp_path / "bin", tmp_path / "trace"
    programs.mkdir()
    executable(programs / "apt-get", f'echo "$DEBIAN_FRONTEND $*" >> {trace}; {programs}/policy >> {trace}')
    executable(programs / "policy", f"sh {dev.SERVICE_POLICY}; echo services: $?")
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    dev.install(["maven", "rabbitmq-server"])
    assert trace.read_text().splitlines() == [
        "noninteractive -q update",
        "services: 101",
        "noninteractive -q install -y --no-install-recommends maven rabbitmq-server",
        "services: 101",
    ]
    assert not dev.SERVICE_POLICY.exists()


def test_nothing_is_installed_for_who_may_not(dev, tmp_path, monkeypatch, capsys):
    executable(tmp_path / "apt-get", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    dev.install(["maven"])
    assert "needs apt-get and root" in capsys.readouterr().err


def test_what_is_there_is_not_missing(dev, tmp_path, monkeypatch):
    for command in dev.SYSTEM_PACKAGES:
        executable(tmp_path / command, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dev.missing_packages() == []
    (tmp_path / "mvn").rename(tmp_path / "not-mvn")
    monkeypatch.setattr(dev, "SYSTEM_PACKAGES", {"mvn": "maven", "no-such-command": "none"})
    assert "none" in dev.missing_packages()


def test_an_unknown_command_is_a_usage_error():
    done = subprocess.run([sys.executable, str(SCRIPT), "tset"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no command 'tset'; there are: demo, test" in done.stderr


def test_help_names_every_command(dev):
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for command in ("demo", "test", "check", "bench", "docs", "lock"):
        assert f"./dev {command} " in done.stdout


def test_the_lock_pins_by_hash_and_names_no_registry():
    text = (SCRIPT.parent / "requirements.lock").read_text(encoding="utf-8")
    pinned = [line for line in text.splitlines() if line[:1].isalnum()]
    assert pinned
    assert [line for line in pinned if "==" not in line or not line.endswith("\\")] == []
    assert "://" not in text
