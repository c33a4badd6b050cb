"""One RabbitMQ node as a local process: own name, ports, cookie, data and epmd, all on loopback.

The server script inside the package is run, not the one on the PATH: Debian's switches to the
system's user and its directories. RabbitMQ 3.10 to 4.x take the same variables.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamproof.url import parse_address
from streamproof_harness.servers.availability import Kind
from streamproof_harness.servers.guard import Command, Guard
from streamproof_harness.servers.ports import LOOPBACK, Ports
from streamproof_harness.servers.probe import probe_amqp, probe_stream

HOME_VARIABLE = "STREAMPROOF_RABBITMQ_HOME"
SCRIPT = "sbin/rabbitmq-server"
INSTALLED = ("usr/lib/rabbitmq/lib/rabbitmq_server-*", "usr/local/lib/rabbitmq*", "opt/rabbitmq*")

# Beside the listeners: a log on the standard output, and no refusal to work on a rather full disk.
SETTINGS = {
    "log.console": "true",
    "log.console.level": "info",
    "log.file": "false",
    "disk_free_limit.absolute": "16MB",
}


@dataclass(frozen=True, slots=True)
class RabbitMQProgram:
    """An installed RabbitMQ: its home directory, version, and the epmd of its Erlang."""

    home: Path
    version: str
    epmd: str


def find_rabbitmq(root: Path = Path("/")) -> RabbitMQProgram | None:
    """The newest RabbitMQ installed below ``root``, or the one that ``STREAMPROOF_RABBITMQ_HOME`` names.

    None where it, or its Erlang, is missing.
    """
    given = os.environ.get(HOME_VARIABLE)
    places = [Path(given)] if given else [home for pattern in INSTALLED for home in root.glob(pattern)]
    found = [(_version(home), home) for home in places if (home / SCRIPT).is_file()]
    epmd = _find_epmd(root)
    if not found or epmd is None or shutil.which("erl") is None:
        return None
    version, home = max(found)
    return RabbitMQProgram(home, ".".join(map(str, version)) or "of unknown version", epmd)


@dataclass(slots=True)
class RabbitMQNode:
    """What a RabbitMQ node consists of; ``settings`` are lines of rabbitmq.conf over :data:`SETTINGS`."""

    program: RabbitMQProgram
    settings: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "rabbitmq"
    ports: Ports = field(default_factory=lambda: Ports(4))

    @property
    def url(self) -> str:
        """Where AMQP clients connect."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.ports.numbers[0]}/"

    @property
    def stream_port(self) -> int:
        """Where clients of the stream protocol connect."""
        return self.ports.numbers[1]

    def prepare(self, guard: Guard, timeout_s: float) -> None:
        """Write the configuration, start epmd."""
        (guard.directory / "rabbitmq.conf").write_text(self.configuration())
        (guard.directory / "enabled_plugins").write_text("[rabbitmq_stream].\n")
        # In the foreground and before the node: else the node starts one as a daemon, for all addresses.
        epmd = (self.program.epmd, "-port", str(self.ports.numbers[3]), "-address", LOOPBACK)
        guard.start("epmd", Command(epmd, self.environment(guard.directory)))

    def configuration(self) -> str:
        """The text of ``rabbitmq.conf``."""
        amqp, stream = self.ports.numbers[:2]
        fixed = {
            "listeners.tcp.1": f"{LOOPBACK}:{amqp}",
            "stream.listeners.tcp.1": f"{LOOPBACK}:{stream}",
            "stream.advertised_host": LOOPBACK,
            "stream.advertised_port": str(stream),
        }
        return "".join(
            f"{name} = {value}\n" for name, value in {**fixed, **SETTINGS, **self.settings}.items()
        )

    def environment(self, directory: Path) -> dict[str, str]:
        """All variables of the node; whatever RABBITMQ_ or ERL_ variable the caller has stays out."""
        amqp, _stream, distribution, epmd = self.ports.numbers
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            # The Erlang cookie is made in HOME: nobody else's node can talk to this one.
            "HOME": str(directory),
            "RABBITMQ_HOME": str(self.program.home),
            "RABBITMQ_NODENAME": f"streamproof-{amqp}@localhost",
            "RABBITMQ_NODE_PORT": str(amqp),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # The script then replaces itself with the Erlang machine, instead of waiting for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def start(self, guard: Guard) -> None:
        """Start the broker's process."""
        script = str(self.program.home / SCRIPT)
        guard.start("broker", Command((script,), self.environment(guard.directory)))

    def probe(self, timeout_s: float) -> None:
        """Raise :class:`~streamproof_harness.servers.probe.NotReady` unless clients can work."""
        probe_amqp(parse_address(self.url), timeout_s)
        probe_stream(LOOPBACK, self.stream_port, timeout_s)


def _version(home: Path) -> tuple[int, ...]:
    """(3, 10, 8) of ``rabbitmq_server-3.10.8``; empty if the name has none."""
    found = re.search(r"(\d+(?:\.\d+)+)", home.resolve().name)
    return tuple(map(int, found[1].split("."))) if found else ()


def _find_epmd(root: Path) -> str | None:
    on_path = shutil.which("epmd")
    if on_path:
        return on_path
    # Some packages put only erl on the PATH; epmd then lies beside the Erlang machine.
    beside = sorted(root.glob("usr/lib*/erlang/erts-*/bin/epmd")) + sorted(
        root.glob("usr/local/lib/erlang/erts-*/bin/epmd")
    )
    return str(beside[-1]) if beside else None
