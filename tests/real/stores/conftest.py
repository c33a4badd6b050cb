"""The run's PostgreSQL and Redis, and the grounds that the claims about stores are tried on."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamproof_harness import servers
from tests.real.stores.grounds import KINDS, Ground
from tests.real.stores.outboxes import YARDS, Yard


def named(*kinds: str) -> list[Any]:
    """``<kind>-<colour>`` in both colours, with the marker of the database that it needs."""
    return [
        pytest.param(
            f"{kind}-{colour}", marks=getattr(pytest.mark, kind) if kind in servers.DATABASES else ()
        )
        for kind in kinds
        for colour in ("sync", "async")
    ]


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
        return KINDS[kind](place, colour)

    return make


@pytest.fixture(params=named(*KINDS))
def ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Each kind of store in each colour."""
    return make_ground(request.param)


@pytest.fixture(params=named("sqlite", "postgresql"))
def database_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Those whose store is the application's own database."""
    return make_ground(request.param)


@pytest.fixture(params=named("postgresql"))
def postgresql_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """PostgreSQL in both colours."""
    return make_ground(request.param)


@pytest.fixture(params=named("redis"))
def redis_ground(request: pytest.FixtureRequest, make_ground: Callable[[str], Ground]) -> Ground:
    """Redis in both colours."""
    return make_ground(request.param)


@pytest.fixture
def make_yard(database_url: Callable[[str], str], tmp_path: Path) -> Callable[[str], Yard]:
    """A fresh yard by its name, ``<kind>-<colour>``."""

    def make(name: str) -> Yard:
        kind, _, colour = name.partition("-")
        place = str(tmp_path / "app.db") if kind == "sqlite" else database_url(kind)
        return YARDS[kind](place, colour)

    return make


@pytest.fixture(params=named("sqlite", "postgresql"))
def yard(request: pytest.FixtureRequest, make_yard: Callable[[str], Yard]) -> Yard:
    """Each kind of outbox in each colour."""
    return make_yard(request.param)


@pytest.fixture(params=named("postgresql"))
def postgresql_yard(request: pytest.FixtureRequest, make_yard: Callable[[str], Yard]) -> Yard:
    """PostgreSQL's outbox in both colours."""
    return make_yard(request.param)
