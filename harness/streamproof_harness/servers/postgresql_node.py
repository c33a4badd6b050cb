"""One PostgreSQL as local processes: own data, port and user, on loopback, gone with its watchdog.

The server's own programs are run, not Debian's wrappers, and never the system's cluster. PostgreSQL
refuses to run as root, so root hands the directory and the processes to an unprivileged user.
"""

import os
import pwd
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamproof_harness.servers.availability import Database, ServerError
from streamproof_harness.servers.guard import Command, Guard
from streamproof_harness.servers.ports import LOOPBACK, Ports
from streamproof_harness.servers.probe_database import probe_postgresql

HOME_VARIABLE = "STREAMPROOF_POSTGRESQL_HOME"
INSTALLED = ("usr/lib/postgresql/*", "usr/pgsql-*", "usr/local/pgsql")
SERVER = "bin/postgres"
USER = "streamproof"
DATABASE = "streamproof"

# Whom root may hand a server to: the package's own user, else the one that owns nothing.
UNPRIVILEGED = ("postgres", "nobody")

# For throw-away data. A killed server loses nothing by fsync=off: what it wrote is the kernel's.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "max_prepared_transactions": "4",
    "deadlock_timeout": "100ms",
    # In the data directory, not in /dev/shm, where a killed server would leave it.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
}

# A killed server leaves its System V segment (the seventh line of postmaster.pid) to whoever comes.
# It may be paused: then it, and its children, are to go on first, or it never hears of its end.
CLEAN_UP = """
pid_file="$2/postmaster.pid"
test -f "$pid_file" || exit 0
read -r pid < "$pid_file"
kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
"$1/bin/pg_ctl" stop --silent --mode=immediate --timeout=15 --pgdata="$2"
test -f "$pid_file" || exit 0
ipcrm --shmem-id "$(sed -n 7p "$pid_file" | awk '{print $2}')"
"""


@dataclass(frozen=True, slots=True)
class PostgresqlProgram:
    """An installed PostgreSQL: where its ``bin`` lies, and its major version."""

    home: Path
    version: str


def find_postgresql(root: Path = Path("/")) -> PostgresqlProgram | None:
    """The newest PostgreSQL below ``root``, or the one that ``STREAMPROOF_POSTGRESQL_HOME`` names."""
    given = os.environ.get(HOME_VARIABLE)
    homes = [Path(given)] if given else [home for pattern in INSTALLED for home in root.glob(pattern)]
    found = [(_version(home), home) for home in homes if (home / SERVER).is_file()]
    if not found:
        return None
    version, home = max(found)
    return PostgresqlProgram(home, str(version or "of unknown version"))


@dataclass(slots=True)
class PostgresqlNode:
    """What a PostgreSQL consists of; ``settings`` are lines of postgresql.conf over :data:`SETTINGS`."""

    program: PostgresqlProgram
    settings: Mapping[str, str] = field(default_factory=dict)
    kind: Database = "postgresql"
    stream_port: int | None = None
    ports: Ports = field(default_factory=lambda: Ports(1))

    @property
    def url(self) -> str:
        """Where clients connect, as the superuser of a database of its own."""
        return f"postgresql://{USER}@{LOOPBACK}:{self.ports.numbers[0]}/{DATABASE}"

    def prepare(self, guard: Guard, timeout_s: float) -> None:
        """Make the data directory and the configuration."""
        owner = unprivileged_user()
        if owner is not None:
            os.chown(guard.directory, owner.pw_uid, owner.pw_gid)
        data = guard.directory / "data"
        options = (f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        guard.run("initdb", self._command(owner, "bin/initdb", *options, f"--pgdata={data}"), timeout_s)
        (data / "postgresql.conf").write_text(self.configuration())
        clean_up = ("sh", "-c", CLEAN_UP, "sh", str(self.program.home), str(data))
        guard.at_end((*_as_user(owner), *clean_up))

    def configuration(self) -> str:
        """The text of ``postgresql.conf``."""
        fixed = {
            "listen_addresses": LOOPBACK,
            "port": str(self.ports.numbers[0]),
            "unix_socket_directories": "",
        }
        return "".join(
            f"{name} = '{value}'\n" for name, value in {**SETTINGS, **self.settings, **fixed}.items()
        )

    def start(self, guard: Guard) -> None:
        """Start the server's process."""
        arguments = ("-D", str(guard.directory / "data"))
        guard.start("broker", self._command(unprivileged_user(), SERVER, *arguments))

    def probe(self, timeout_s: float) -> None:
        """Raise :class:`~streamproof_harness.servers.probe.NotReady` unless clients can work.

        The first that gets in makes the database.
        """
        place = (LOOPBACK, self.ports.numbers[0])
        probe_postgresql(place, USER, "postgres", timeout_s, f"CREATE DATABASE {DATABASE}")
        probe_postgresql(place, USER, DATABASE, timeout_s)

    def _command(self, owner: pwd.struct_passwd | None, program: str, *arguments: str) -> Command:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}
        return Command((*_as_user(owner), str(self.program.home / program), *arguments), environment)


def unprivileged_user() -> pwd.struct_passwd | None:
    """Who is to own the server when root starts it; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError(f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}")


def _as_user(owner: pwd.struct_passwd | None) -> tuple[str, ...]:
    """What to put before a command so that it runs as that user, and still dies with the watchdog:
    changing the user clears the signal that the watchdog had set."""
    if owner is None:
        return ()
    setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
    return (
        *(setpriv, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"),
        *("--pdeathsig", "KILL", "--"),
    )


def _version(home: Path) -> int:
    """15 of ``/usr/lib/postgresql/15`` or ``/usr/pgsql-15``; 0 if the name has none."""
    found = re.search(r"(\d+)$", home.name)
    return int(found[1]) if found else 0
