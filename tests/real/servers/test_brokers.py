"""Real brokers, started, harmed, restarted and ended; and their processes after a ``kill -9`` of ours."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from streamproof.url import parse_address
from streamproof_harness import servers
from streamproof_harness.servers.probe import (
    AMQP_PORT,
    NotReady,
    host_and_port,
    probe_amqp,
    probe_kafka,
    probe_stream,
)
from streamproof_harness.servers.watchdog import descendants

BOUND_S = 60.0
KINDS = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in servers.KINDS]
)


def probe(server: servers.Server, timeout_s: float = 5.0) -> None:
    """Raise NotReady unless the server answers on all its ports."""
    host, port = host_and_port(parse_address(server.url), AMQP_PORT)
    if server.kind == "kafka":
        probe_kafka(host, port, timeout_s)
        return
    probe_amqp(parse_address(server.url), timeout_s)
    assert server.stream_port is not None
    probe_stream(host, server.stream_port, timeout_s)


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {BOUND_S:g} s for {what}"
        time.sleep(0.05)


@KINDS
def test_kill_restart_pause_and_stop(start_private, kind):
    server = start_private(kind)
    probe(server)
    assert server.is_running()
    assert server.logs()

    server.kill()
    assert not server.is_running()
    with pytest.raises(NotReady):
        probe(server)
    url = server.url
    server.restart()
    assert (server.url, server.is_running()) == (url, True)
    probe(server)

    server.pause()
    assert server.is_running()
    with pytest.raises(NotReady, match="timed out"):
        probe(server, timeout_s=0.5)
    server.resume()
    wait_for(lambda: is_ready(server), "answers after the pause")

    server.pause()
    server.stop()
    server.stop()
    host, port = host_and_port(parse_address(url), AMQP_PORT)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5)


def is_ready(server: servers.Server) -> bool:
    try:
        probe(server)
    except NotReady:
        return False
    return True


@KINDS
def test_nothing_is_left_of_a_broker_when_its_user_is_killed(need_private, kind):
    need_private(kind)
    program = f"""
        import json, os, sys, time
        from streamproof_harness import servers
        server = servers.start({kind!r}, private=True)
        print(json.dumps([server.guard.pid, str(server.guard.directory)]), flush=True)
        time.sleep({2 * BOUND_S})
    """
    user = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    with user, user.stdout:
        watchdog, directory = json.loads(user.stdout.readline())
        found = {pid: started(pid) for pid in [watchdog, *descendants(watchdog)]}
        # One that ended in between would count as there for ever.
        watched = {pid: start for pid, start in found.items() if start is not None}
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in watched}
        assert names >= (
            {"java"} if kind == "kafka" else {"beam.smp", "epmd", "erl_child_setup", "inet_gethost"}
        )
        user.send_signal(signal.SIGKILL)
        assert user.wait(BOUND_S) == -signal.SIGKILL
    wait_for(lambda: not [pid for pid, start in watched.items() if started(pid) == start], "the end of all")
    wait_for(lambda: not Path(directory).exists(), "the removal of its data")


def started(pid: int) -> str | None:
    """What tells a process from a later one with its id; none when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def test_a_broker_that_cannot_start_says_why(need_private):
    need_private("kafka")
    with pytest.raises(servers.ServerError, match=r"ended(.|\n)*num.network.threads"):
        servers.kafka(settings={"num.network.threads": "none"})


def test_up_stands_until_down(need_private, tmp_path, monkeypatch):
    need_private("kafka")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = "from streamproof_harness import servers; print(servers.up(['kafka'])[0].url)"
    first = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=2 * BOUND_S, check=True
    )
    try:
        (entry,) = servers.up(["kafka"])
        assert f"{entry.url}\n" == first.stdout
        probe_kafka(*host_and_port(parse_address(entry.url), 0), 5.0)
        assert entry.log.is_file()
        assert [finding.name for finding in servers.doctor() if finding.name.startswith("up:")] == [
            "up: kafka"
        ]
    finally:
        assert [entry.kind for entry in servers.down()] == ["kafka"]
    assert not Path(entry.directory).exists()
    assert servers.standing() == ()
    assert servers.down() == ()


def test_up_forgets_what_ended_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "streamproof"
    folder.mkdir()
    entry = {
        "kind": "kafka",
        "how": "",
        "url": "kafka://127.0.0.1:1",
        "stream_port": None,
        "directory": "/none",
    }
    # This very process, but a start time that is not its own: a later process with the same id.
    (folder / "servers.json").write_text(json.dumps([{**entry, "pid": os.getpid(), "started": 1}]))
    assert servers.standing() == ()
    assert servers.down() == ()
    (folder / "servers.json").write_text("not json")
    with pytest.raises(servers.ServerError, match="cannot be read"):
        servers.standing()
