"""The watchdog with small processes: what it starts, it ends, however its own life ends."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproof_harness.servers import ServerError
from streamproof_harness.servers.guard import Command, Guard, tail

BOUND_S = 30.0
ENVIRONMENT = {"PATH": os.environ["PATH"]}

# A broker's manners: a child in a session of its own, and a daemon whose parent has gone.
UNRULY = """
    setsid sleep 1000 &
    echo child $!
    ( setsid sh -c 'echo daemon $$; exec sleep 1000' & )
    echo ready
    exec sleep 1000
"""


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard("streamproof-test-")
    yield guard
    guard.end()


def shell(script: str) -> Command:
    return Command(("sh", "-c", script), ENVIRONMENT)


def wait_for(condition, what: str):
    deadline = time.monotonic() + BOUND_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {BOUND_S:g} s for {what}"
        time.sleep(0.01)
    return result


def wait_gone(pids) -> None:
    wait_for(lambda: not [pid for pid in pids if is_alive(pid)], f"the end of {list(pids)}")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"


def all_stats() -> Iterator[str]:
    """What the kernel says of every process, see proc_pid_stat(5)."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield entry.read_text(errors="replace")


def unruly_pids(log: Path) -> list[int]:
    """The processes of UNRULY, once it has told them all."""

    def told() -> list[int]:
        words = log.read_text().split() if log.exists() else []
        names = {"child", "daemon"} & set(words)
        is_told = len(names) == 2 and "ready" in words
        return [int(words[words.index(name) + 1]) for name in names] if is_told else []

    return wait_for(told, "the unruly processes")


def test_end_leaves_neither_process_nor_directory(guard):
    pid = guard.start("broker", shell(UNRULY))
    pids = [pid, *unruly_pids(guard.log())]
    assert all(map(is_alive, pids))
    guard.end()
    assert [other for other in [*pids, guard.pid] if is_alive(other)] == []
    assert not guard.directory.exists()
    guard.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_process_that_asked(number):
    program = f"""
        import json, os, time
        from streamproof_harness.servers.guard import Command, Guard
        guard = Guard("streamproof-test-")
        pid = guard.start("broker", Command(("sh", "-c", {UNRULY!r}), {ENVIRONMENT!r}))
        # A fork holds the control socket open: the end of the parent must be noticed all the same.
        forked = os.fork()
        if forked == 0:
            time.sleep({BOUND_S + 10})
            os._exit(0)
        print(json.dumps([guard.pid, pid, forked, str(guard.directory)]), flush=True)
        time.sleep({BOUND_S + 10})
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        watchdog, pid, forked, directory = json.loads(parent.stdout.readline())
        pids = [watchdog, pid, *unruly_pids(Path(directory) / "broker.log")]
        parent.send_signal(number)
        assert parent.wait(BOUND_S) != 0
    try:
        wait_gone(pids)
        wait_for(lambda: not Path(directory).exists(), "the removal of its directory")
    finally:
        os.kill(forked, signal.SIGKILL)


def test_direct_children_do_not_outlive_a_watchdog_that_is_killed(guard):
    pid = guard.start("broker", shell("exec sleep 1000"))
    os.kill(guard.pid, signal.SIGKILL)
    wait_gone([pid])
    with pytest.raises(ServerError, match=f"watchdog {guard.pid}"):
        guard.start("broker", shell("true"))
    guard.end()
    # The one thing that nobody is left to do.
    for file in guard.directory.iterdir():
        file.unlink()
    guard.directory.rmdir()


def test_cleanup_commands_run_whoever_brings_the_end(tmp_path):
    for number in (None, signal.SIGTERM):
        guard, trace = Guard("streamproof-test-"), tmp_path / f"trace-{number}"
        guard.at_end(["touch", str(trace)])
        if number is not None:
            os.kill(guard.pid, number)
        guard.end()
        assert trace.exists()


def test_kill_pause_and_resume_reach_the_whole_tree(guard):
    guard.start("broker", shell("sh -c 'while :; do echo tick; sleep 0.01; done'; true"))
    wait_for(lambda: "tick" in guard.tail(), "the first tick")

    def states() -> set[str]:
        """The states of the watchdog's session, itself left out."""
        fields = [
            stat.rpartition(")")[2].split() for stat in all_stats() if not stat.startswith(f"{guard.pid} ")
        ]
        return {state for state, _, _, session, *_ in fields if int(session) == guard.pid}

    assert guard.signal(signal.SIGSTOP)
    # A child that was being born meanwhile ends, and waits for its stopped parent (Z).
    wait_for(lambda: "T" in states() and states() <= {"T", "Z"}, "the stop of all")
    size = guard.log().stat().st_size
    assert guard.is_alive()
    assert guard.signal(signal.SIGCONT)
    wait_for(lambda: guard.log().stat().st_size > size, "more ticks")
    assert guard.signal(signal.SIGKILL)
    assert guard.wait("broker", BOUND_S)
    assert not guard.is_alive()
    assert not guard.signal(signal.SIGKILL)


def test_run_tells_why_a_command_failed(guard):
    guard.run("good", shell("true"), BOUND_S)
    with pytest.raises(ServerError, match=r"exit status 3\nno such thing"):
        guard.run("bad", shell("echo no such thing >&2; exit 3"), BOUND_S)
    with pytest.raises(ServerError, match="took longer than 0"):
        guard.run("slow", shell("exec sleep 1000"), 0)
    with pytest.raises(ServerError, match="FileNotFoundError"):
        guard.run("absent", Command(("/no/such/program",), ENVIRONMENT), BOUND_S)


def test_it_outlives_its_parent_only_when_detached():
    program = f"""
        from streamproof_harness.servers.guard import BROKER, Command, Guard
        guard = Guard("streamproof-test-")
        pid = guard.start(BROKER, Command(("sh", "-c", "exec sleep 1000"), {ENVIRONMENT!r}))
        guard.detach(BROKER)
        print(guard.pid, pid, guard.directory)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    watchdog, pid, directory = done.stdout.split()
    watched = os.pidfd_open(int(watchdog))
    assert is_alive(int(pid))
    # It lives on as long as the process for whose sake it does, and cleans up after it.
    os.kill(int(pid), signal.SIGKILL)
    ready, _, _ = select.select([watched], [], [], BOUND_S)
    os.close(watched)
    assert ready
    assert not Path(directory).exists()


def test_brokers_inherit_nothing_but_what_they_are_given(guard, monkeypatch):
    monkeypatch.setenv("RABBITMQ_NODENAME", "somebody-else")
    guard.run("environment", shell("env"), BOUND_S)
    assert "somebody-else" not in guard.tail("environment")


def test_tail_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert tail(log, 3) == ""
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert tail(log, 3) == "line 9997\nline 9998\nline 9999"
