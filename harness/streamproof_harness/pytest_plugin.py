"""The pytest plugin: a bus for each test, on the backend that the command line names.

``bus`` (for functions) and ``async_bus`` (for coroutines) are connected, live in a namespace of
their own, and are closed and emptied after the test. ``--backend`` chooses the backend: ``memory``
(the default), ``kafka`` or ``rabbitmq`` (the one at ``STREAMPROOF_KAFKA_URL`` or
``STREAMPROOF_RABBITMQ_URL``, else a local process, else a container), or any URL::

    def test_orders(bus):
        bus.admin().create_topic("orders")
        bus.producer().send("orders", b"1").result()
        assert [record.value for record in bus.consumer("orders").poll()] == [b"1"]

Coroutine tests that use ``async_bus`` need no further plugin: this one runs them, each on an event
loop of its own. Where pytest-asyncio or anyio runs the test, the bus lives on that plugin's loop.

This module is loaded by every pytest run of an environment that has streamproof, so it imports
nothing but pytest until a fixture is used, and changes nothing for tests that use none.
"""

import argparse
import inspect
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streamproof import AsyncBus, Bus

_NAMED = ("memory", "kafka", "rabbitmq")
_OPTION = "streamproof_backend"
_SLUG_LENGTH = 60
_runner = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--backend``, and the same under a name that no other plugin has."""
    group = parser.getgroup("streamproof")
    about = f"backend of the fixtures bus and async_bus: {', '.join(_NAMED)} or a URL (default: memory)"
    try:
        group.addoption("--backend", "--streamproof-backend", dest=_OPTION, default="memory", help=about)
    except (ValueError, argparse.ArgumentError):  # another plugin has --backend
        group.addoption("--streamproof-backend", dest=_OPTION, default="memory", help=about)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an unknown backend before the first test; be ready for pytest-asyncio if it is there."""
    backend = config.getoption(_OPTION)
    if backend not in _NAMED and "://" not in backend:
        raise pytest.UsageError(f"--backend={backend} is unknown: use {', '.join(_NAMED)} or a URL")
    if config.pluginmanager.hasplugin("asyncio"):
        config.pluginmanager.register(_pytest_asyncio_fixtures(), "streamproof-asyncio")


# -- fixtures --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def streamproof_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the backend; a broker is found or started for it, once a run. Without one the
    test is skipped, or fails where ``CI`` is set."""
    backend = request.config.getoption(_OPTION)
    if backend == "memory":
        yield f"memory://pytest-{secrets.token_hex(8)}"
    elif backend not in _NAMED:
        yield backend
    else:
        yield from _broker_url(backend)


@pytest.fixture
def bus(streamproof_url: str, request: pytest.FixtureRequest) -> Iterator["Bus"]:
    """A connected bus in a fresh namespace. After the test it is closed, with all its producers and
    consumers, and the topics made in the namespace are deleted."""
    with _open(streamproof_url, _namespace(request)) as opened:
        yield opened


@pytest.fixture
def async_bus(streamproof_url: str, request: pytest.FixtureRequest) -> Iterator["AsyncBus"]:
    """``bus`` for coroutine tests, on the event loop of the test."""
    if "anyio_backend" in request.fixturenames:
        yield request.getfixturevalue("_streamproof_anyio_bus")
    elif request.node.get_closest_marker("asyncio"):
        yield request.getfixturevalue("_streamproof_asyncio_bus")
    else:
        yield from _bus_on_own_loop(streamproof_url, request)


@pytest.fixture
async def _streamproof_anyio_bus(
    streamproof_url: str, request: pytest.FixtureRequest
) -> AsyncIterator["AsyncBus"]:
    async with _open_async(streamproof_url, _namespace(request)) as opened:
        yield opened


def _pytest_asyncio_fixtures() -> object:
    own: Any = import_module("pytest_asyncio")  # not among this project's dependencies

    class Fixtures:
        @own.fixture  # type: ignore[untyped-decorator]
        async def _streamproof_asyncio_bus(
            self, streamproof_url: str, request: pytest.FixtureRequest
        ) -> AsyncIterator["AsyncBus"]:
            async with _open_async(streamproof_url, _namespace(request)) as opened:
                yield opened

    return Fixtures()


# -- coroutine tests without another plugin ----------------------------------------------------


def _bus_on_own_loop(url: str, request: pytest.FixtureRequest) -> Iterator["AsyncBus"]:
    if not inspect.iscoroutinefunction(request.function):
        pytest.fail("async_bus is for coroutine tests: write async def, or use bus", pytrace=False)
    import asyncio

    with asyncio.Runner() as runner:
        request.node.stash[_runner] = runner
        entered = _open_async(url, _namespace(request))
        yield runner.run(entered.__aenter__())
        runner.run(entered.__aexit__(None, None, None))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the loop that its ``async_bus`` lives on."""
    if _runner not in pyfuncitem.stash:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    pyfuncitem.stash[_runner].run(pyfuncitem.obj(**given))
    return True


# -- connecting --------------------------------------------------------------------------------


def _broker_url(kind: Any) -> Iterator[str]:
    from streamproof_harness import servers

    how = servers.find(kind)
    if isinstance(how, servers.Absent):
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"--backend={kind}: {how}")
    with servers.start(kind) as server:
        yield server.url


def _namespace(request: pytest.FixtureRequest) -> str:
    """The test's name as far as topics may be named so, and something nobody had before."""
    slug = re.sub(r"[^a-zA-Z0-9_-]+", "-", request.node.name)[:_SLUG_LENGTH].strip("-")
    return f"{slug}-{secrets.token_hex(4)}."


@contextmanager
def _open(url: str, namespace: str) -> Iterator["Bus"]:
    from streamproof import connect

    try:
        with connect(url, namespace=namespace) as bus:
            yield bus
    finally:
        with connect(url, namespace=namespace) as cleaner:
            admin = cleaner.admin()
            topics = admin.list_topics()
            if topics:
                admin.delete_topics(*topics)


@asynccontextmanager
async def _open_async(url: str, namespace: str) -> AsyncIterator["AsyncBus"]:
    from streamproof import aconnect

    try:
        async with await aconnect(url, namespace=namespace) as bus:
            yield bus
    finally:
        async with await aconnect(url, namespace=namespace) as cleaner:
            admin = await cleaner.admin()
            topics = await admin.list_topics()
            if topics:
                await admin.delete_topics(*topics)
