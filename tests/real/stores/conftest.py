"""The run's PostgreSQL and Redis, and the grounds that the claims about stores are tried on."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamproof_harness import servers
from tests.real.stores.grounds import GROUNDS, Ground

# The databases' own marker comes with the ground's name.
NAMES = [
    pytest.param(name, marks=getattr(pytest.mark, kind)) if kind in servers.DATABASES else name
    for name in GROUNDS
    for kind in [name.partition("-")[0]]
]
BOTH_COLOURS_OF_DATABASES = [name for name in GROUNDS if name.startswith(("sqlite", "postgresql"))]


def need(kind: servers.Database, *, private: bool = False) -> None:
    """Skip, or with CI set fail, where that database cannot be had."""
    how = servers.find_database(kind, private=private)
    if isinstance(how, servers.Absent):
        if os.environ.get("CI"):
            pytest.fail(f"with CI set a missing database is a failure: {how}", pytrace=False)
        pytest.skip(str(how))


@pytest.fixture(scope="session")
def database_url() -> Iterator[Callable[[str], str]]:
    """The URL of the run's database of a kind, started when it is first asked for."""
    started: dict[str, servers.Server] = {}

    def url(kind: str) -> str:
        wanted: servers.Database = "redis" if kind == "redis" else "postgresql"
        if kind not in started:
            need(wanted)
            started[kind] = servers.start_database(wanted)
        return started[kind].url

    yield url
    for server in started.values():
        server.stop()


@pytest.fixture
def make_ground(database_url: Callable[[str], str], tmp_path: Path) -> Callable[[str], Ground]:
    """A fresh ground by its name, ``<kind>-<colour>``."""

    def make(name: str) -> Ground:
        kind, _, colour = name.partition("-")
        place = str(tmp_path / "app.db") if kind == "sqlite" else ""
        if kind in servers.DATABASES:
            place = database_url(kind)
        return GROUNDS[name](place, colour)

    return make


@pytest.fixture(params=NAMES)
def ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Each kind of store in each colour."""
    return make_ground(request.param)


@pytest.fixture(params=[name for name in GROUNDS if name.startswith(("sqlite", "postgresql"))])
def database_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Those whose store is the application's own database."""
    return make_ground(request.param)


@pytest.fixture(params=["postgresql-sync", "postgresql-async"])
def postgresql_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """PostgreSQL in both colours."""
    return make_ground(request.param)


@pytest.fixture(params=["redis-sync", "redis-async"])
def redis_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Redis in both colours."""
    return make_ground(request.param)
