"""One Redis as a local process: own data and port, on loopback, gone with its watchdog."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamproof_harness.servers.availability import Database
from streamproof_harness.servers.guard import Command, Guard
from streamproof_harness.servers.ports import LOOPBACK, Ports
from streamproof_harness.servers.probe_database import probe_redis

PROGRAM = "redis-server"
VERSION_BOUND_S = 10.0

# Every write is handed to the kernel before it is answered, so a killed server has lost none of them.
SETTINGS = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "databases": "4"}


def find_redis() -> str | None:
    """The version of the Redis on the PATH; None if there is none that runs."""
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_BOUND_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(part.split("=", 1) for part in told.stdout.split() if "=" in part).get(
        "v", "of unknown version"
    )


@dataclass(slots=True)
class RedisNode:
    """What a Redis consists of; ``settings`` are lines of redis.conf over :data:`SETTINGS`."""

    settings: Mapping[str, str] = field(default_factory=dict)
    kind: Database = "redis"
    stream_port: int | None = None
    ports: Ports = field(default_factory=lambda: Ports(1))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{LOOPBACK}:{self.ports.numbers[0]}/0"

    def prepare(self, guard: Guard, timeout_s: float) -> None:
        """Write the configuration."""
        (guard.directory / "data").mkdir()
        (guard.directory / "redis.conf").write_text(self.configuration(str(guard.directory / "data")))

    def configuration(self, data: str) -> str:
        """The text of ``redis.conf``."""
        fixed = {"bind": LOOPBACK, "port": str(self.ports.numbers[0]), "dir": data, "daemonize": "no"}
        return "".join(
            f'{name} "{value}"\n' for name, value in {**SETTINGS, **self.settings, **fixed}.items()
        )

    def start(self, guard: Guard) -> None:
        """Start the server's process."""
        program = shutil.which(PROGRAM) or PROGRAM
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        guard.start("broker", Command((program, str(guard.directory / "redis.conf")), environment))

    def probe(self, timeout_s: float) -> None:
        """Raise :class:`~streamproof_harness.servers.probe.NotReady` unless clients can work."""
        probe_redis((LOOPBACK, self.ports.numbers[0]), timeout_s)
