"""Real databases, started, harmed, restarted and ended; and what is left after a ``kill -9`` of ours."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from streamproof.errors import Unsupported
from streamproof.url import parse_address
from streamproof_harness import servers
from streamproof_harness.servers.postgresql_node import DATABASE, USER
from streamproof_harness.servers.probe import NotReady, host_and_port
from streamproof_harness.servers.probe_database import accepts_postgresql, probe_postgresql, probe_redis
from streamproof_harness.servers.watchdog import descendants

BOUND_S = 60.0
DATABASES = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in servers.DATABASES]
)


def need(kind: servers.Database) -> None:
    """Skip, or with CI set fail, where that database cannot be started."""
    how = servers.find_database(kind, private=True)
    if isinstance(how, servers.Absent):
        if os.environ.get("CI"):
            pytest.fail(f"with CI set a missing database is a failure: {how}", pytrace=False)
        pytest.skip(str(how))


def probe(server: servers.Server, timeout_s: float = 5.0) -> None:
    """Raise NotReady unless the server answers."""
    place = host_and_port(parse_address(server.url), 0)
    if server.kind == "redis":
        probe_redis(place, timeout_s)
    else:
        probe_postgresql(place, USER, DATABASE, timeout_s)


def is_ready(server: servers.Server) -> bool:
    try:
        probe(server)
    except NotReady:
        return False
    return True


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {BOUND_S:g} s for {what}"
        time.sleep(0.05)


def segments() -> set[str]:
    """The System V shared memory segments of this machine."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


@DATABASES
def test_kill_restart_pause_and_stop(kind):
    need(kind)
    with servers.start_database(kind, private=True) as server:
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
        server.restart()
        probe(server)

        server.pause()
        assert server.is_running()
        with pytest.raises(NotReady, match="timed out"):
            probe(server, timeout_s=0.5)
        server.resume()
        wait_for(lambda: is_ready(server), "answers after the pause")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(host_and_port(parse_address(url), 0), timeout=5)


@pytest.mark.postgresql
@pytest.mark.parametrize("state", ["running", "paused", "killed"])
def test_postgresql_leaves_no_shared_memory(state):
    need("postgresql")
    with servers.postgresql(private=True) as server:
        lines = (server.guard.directory / "data/postmaster.pid").read_text().splitlines()
        segment = lines[6].split()[1]
        assert segment in segments()
        if state == "paused":
            server.pause()
        elif state == "killed":
            server.kill()
    assert segment not in segments()


@DATABASES
def test_nothing_is_left_of_a_database_when_its_user_is_killed(kind):
    need(kind)
    program = f"""
        import json, time
        from streamproof_harness import servers
        server = servers.start_database({kind!r}, private=True)
        print(json.dumps([server.guard.pid, str(server.guard.directory)]), flush=True)
        time.sleep({2 * BOUND_S})
    """
    user = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    with user, user.stdout:
        watchdog, directory = json.loads(user.stdout.readline())
        watched = alive([watchdog, *descendants(watchdog)])
        names = {name_of(pid) for pid in watched}
        assert names >= ({"postgres"} if kind == "postgresql" else {"redis-server"})
        user.send_signal(signal.SIGKILL)
        assert user.wait(BOUND_S) == -signal.SIGKILL
    wait_for(lambda: not [pid for pid, start in watched.items() if started(pid) == start], "the end of all")
    wait_for(lambda: not Path(directory).exists(), "the removal of its data")


@DATABASES
def test_the_server_dies_with_its_watchdog(kind):
    """Also where it runs as another user: a change of user clears the signal that binds it."""
    need(kind)
    server = servers.start_database(kind, private=True)
    watched = alive(descendants(server.guard.pid))
    assert watched
    os.kill(server.guard.pid, signal.SIGKILL)
    wait_for(lambda: not [pid for pid, start in watched.items() if started(pid) == start], "the end of all")
    directory = server.guard.directory
    server.stop()
    # Nobody is left who could clean up.
    if kind == "postgresql":
        segment = (directory / "data/postmaster.pid").read_text().splitlines()[6].split()[1]
        subprocess.run(["ipcrm", "--shmem-id", segment], check=True, timeout=BOUND_S)
    shutil.rmtree(directory)


def alive(pids: Iterable[int]) -> dict[int, str]:
    """Those of the processes that are there now, with what :func:`started` says of each."""
    return {pid: start for pid in pids if (start := started(pid)) is not None}


def name_of(pid: int) -> str:
    """The process's name; empty if it is gone, as a session of PostgreSQL may be by now."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def started(pid: int) -> str | None:
    """What tells a process from a later one with its id; none when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


@pytest.mark.postgresql
def test_a_database_that_cannot_start_says_why():
    need("postgresql")
    with pytest.raises(servers.ServerError, match=r"ended(.|\n)*max_connections"):
        servers.postgresql(settings={"max_connections": "none"})
    need("redis")
    with pytest.raises(servers.ServerError, match=r"ended(.|\n)*appendfsync"):
        servers.redis(settings={"appendfsync": "sometimes"})


@DATABASES
def test_a_given_database_is_not_harmed(kind, monkeypatch):
    need(kind)
    with servers.start_database(kind, private=True) as own:
        monkeypatch.setenv(servers.URL_VARIABLES[kind], own.url)
        with servers.start_database(kind) as given:
            assert given.url == own.url
            assert given.is_running()
            with pytest.raises(Unsupported, match="private=True"):
                given.kill()
        assert own.is_running()
        own.kill()
        assert not given.is_running()
        with pytest.raises(servers.ServerError, match=f"does not answer as {kind}"):
            servers.start_database(kind)
    finding = {finding.name: finding for finding in servers.doctor()}[servers.URL_VARIABLES[kind]]
    assert finding.status == "wrong"


@pytest.mark.postgresql
@pytest.mark.redis
def test_one_is_not_taken_for_the_other():
    need("postgresql")
    need("redis")
    with servers.postgresql(private=True) as postgresql, servers.redis(private=True) as redis:
        first = host_and_port(parse_address(postgresql.url), 0)
        second = host_and_port(parse_address(redis.url), 0)
        accepts_postgresql(first, 5.0)
        with pytest.raises(NotReady):
            probe_redis(first, 5.0)
        with pytest.raises(NotReady):
            accepts_postgresql(second, 0.5)
        with pytest.raises(NotReady):
            probe_postgresql(second, USER, DATABASE, 0.5)
        with pytest.raises(NotReady, match=r"refused: .*nobody"):
            probe_postgresql(first, "nobody", DATABASE, 5.0)


@DATABASES
def test_absence_has_a_reason_and_a_remedy(kind, monkeypatch, tmp_path):
    monkeypatch.delenv(servers.URL_VARIABLES[kind], raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STREAMPROOF_POSTGRESQL_HOME", str(tmp_path))
    how = servers.find_database(kind)
    assert isinstance(how, servers.Absent)
    assert "apt-get install" in how.remedy
    with pytest.raises(servers.ServerAbsent, match="not installed"):
        servers.start_database(kind)
