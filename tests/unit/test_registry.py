"""Schemes: the built-in ones, those of other packages, and what is said of all others."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamproof import ConfigurationError, Unsupported, connect
from streamproof.registry import async_opener, backend_for, opener

THIRD_PARTY = """
from streamproof.drivers import memory
from streamproof.registry import Backend

BACKEND = Backend("their_backend:open_driver", None)
NO_BACKEND = "a str"

def open_driver(address, timeout_s):
    return memory.MemoryCluster().driver()
"""

ENTRY_POINTS = """
[streamproof.backends]
theirs = their_backend:BACKEND
broken = their_backend:NO_BACKEND
"""


@pytest.fixture
def _their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package that offers a backend, as pip would install it."""
    (tmp_path / "their_backend.py").write_text(THIRD_PARTY)
    information = tmp_path / "their_backend-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-backend\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_backend", raising=False)


@pytest.mark.parametrize("scheme", ["nats", "", "memory2", "http"])
def test_an_unknown_scheme_names_the_known_ones(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{scheme!r}.*amqp://, kafka://, memory://"):
        backend_for(scheme)


@pytest.mark.usefixtures("_their_package")
def test_another_package_s_backend_is_connected_to() -> None:
    with connect("theirs://somewhere") as bus:
        bus.admin().create_topic("topic")
        assert bus.producer().send("topic", b"v").result().partition == 0


@pytest.mark.usefixtures("_their_package")
def test_another_package_s_backend_is_named_among_the_known() -> None:
    with pytest.raises(ConfigurationError, match="theirs://"):
        backend_for("nats")


@pytest.mark.usefixtures("_their_package")
def test_a_missing_colour_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"theirs:// has no async driver: use the other colour"):
        async_opener("theirs")


@pytest.mark.usefixtures("_their_package")
def test_an_entry_point_that_is_no_backend_is_told() -> None:
    with pytest.raises(ConfigurationError, match="'broken' is a str, not a Backend"):
        backend_for("broken")


@pytest.mark.parametrize("scheme", ["memory", "kafka", "amqp"])
def test_the_built_in_ones_come_in_both_colours(scheme: str) -> None:
    assert callable(opener(scheme))
    assert callable(async_opener(scheme))


@pytest.mark.parametrize(
    ("library", "url", "opens", "extra"),
    [
        ("confluent_kafka", "kafka://h", "connect", "kafka"),
        ("aiokafka", "kafka://h", "aconnect", "aiokafka"),
        ("pika", "amqp://h", "connect", "rabbitmq"),
        ("aio_pika", "amqp://h", "aconnect", "aio-rabbitmq"),
    ],
)
def test_a_missing_library_says_what_to_install(library: str, url: str, opens: str, extra: str) -> None:
    code = f"""
import asyncio, sys
sys.modules[{library!r}] = None
import streamproof
try:
    opened = streamproof.{opens}({url!r}, timeout_s=1.0)
    asyncio.run(opened)
except streamproof.MissingExtra as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    scheme = url.partition(":")[0]
    assert done.stdout == (
        f"{scheme}:// needs {library}, which is not installed: pip install 'streamproof[{extra}]'\n"
    )
