"""Real brokers for the tests: one of each kind for the whole run, private ones for tests that do harm.

Where a broker is absent its tests are skipped with the reason that ``streamproof doctor`` gives;
with CI set they fail, so that a green run there means that they ran.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from streamproof_harness import servers
from streamproof_harness.servers import Absent, Kind, Server

NeedPrivate = Callable[[Kind], None]
StartPrivate = Callable[[Kind], Server]

URL_FIXTURES = {"kafka_url": "kafka", "rabbitmq_url": "rabbitmq"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, so that ``-m "not kafka"`` leaves it out."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in URL_FIXTURES:
                item.add_marker(URL_FIXTURES[fixture])


def need(kind: Kind, *, private: bool = False) -> None:
    """Skip, or with CI set fail, the test that asks for a broker which cannot be had here."""
    how = servers.find(kind, private=private)
    if isinstance(how, Absent):
        if os.environ.get("CI"):
            pytest.fail(f"with CI set a missing broker is a failure: {how}", pytrace=False)
        pytest.skip(str(how))


@pytest.fixture(scope="session")
def kafka_url() -> Iterator[str]:
    """The URL of the run's Kafka. It has other users: use fresh names, do it no harm."""
    need("kafka")
    with servers.kafka() as server:
        yield server.url


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """The URL of the run's RabbitMQ. It has other users: use fresh names, do it no harm."""
    need("rabbitmq")
    with servers.rabbitmq() as server:
        yield server.url


@pytest.fixture
def need_private() -> NeedPrivate:
    """Skip, or with CI set fail, unless a private broker of that kind can be started."""
    return lambda kind: need(kind, private=True)


@pytest.fixture
def start_private() -> Iterator[StartPrivate]:
    """Start brokers that the test may kill, pause and restart; they end with it."""
    with ExitStack() as started:

        def start(kind: Kind) -> Server:
            need(kind, private=True)
            return started.enter_context(servers.start(kind, private=True))

        yield start
