"""What is here, what is missing, and what to do about it: ``streamproof doctor``."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from streamproof.errors import StreamproofError
from streamproof.settings import resolve
from streamproof.url import parse_address
from streamproof_harness.servers.availability import DATABASES, KINDS, URL_VARIABLES, Absent, Given
from streamproof_harness.servers.container import engine_problem
from streamproof_harness.servers.databases import find_database
from streamproof_harness.servers.finding import find
from streamproof_harness.servers.java import NEEDED, find_java
from streamproof_harness.servers.kafka_jars import cached_jars, wanted_version
from streamproof_harness.servers.probe import NotReady
from streamproof_harness.servers.rabbitmq_node import find_rabbitmq
from streamproof_harness.servers.server import probe_given
from streamproof_harness.servers.standing import standing

# Distribution -> the extra that brings it.
CLIENTS = {
    "confluent-kafka": "kafka",
    "aiokafka": "aiokafka",
    "pika": "rabbitmq",
    "aio-pika": "aio-rabbitmq",
    "psycopg": "postgresql",
    "redis": "redis",
}

Status = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` closes a way, ``wrong`` is a setting that cannot work."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def doctor() -> list[Finding]:
    """Look at everything; blocks up to some seconds for each given URL that does not answer."""
    return [
        Finding("python", "ok", f"{platform.python_version()} at {sys.executable}"),
        Finding("streamproof", "ok", metadata.version("streamproof")),
        *_clients(),
        *_programs(),
        *_given(),
        *_brokers(),
        *_standing(),
        *_settings(),
    ]


def _clients() -> Iterator[Finding]:
    for name, extra in CLIENTS.items():
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "missing", "not installed", f"pip install 'streamproof[{extra}]'")


def _programs() -> Iterator[Finding]:
    java = find_java()
    if java is None:
        yield Finding("java", "missing", "not on the PATH", f"install Java {NEEDED} or newer")
    elif java.major < NEEDED:
        yield Finding("java", "missing", f"{java.command} is {java.major}", f"install Java {NEEDED} or newer")
    else:
        yield Finding("java", "ok", f"{java.major} at {java.command}")
    version = wanted_version()
    jars, maven = cached_jars(version), shutil.which("mvn")
    if jars is not None:
        yield Finding("kafka jars", "ok", f"{version} in {jars}")
    elif maven is not None:
        yield Finding("kafka jars", "ok", f"{version} not in the cache yet: Maven will bring it on first use")
    else:
        yield Finding(
            "kafka jars", "missing", f"{version} is not in the cache, nor is there Maven", "install Maven"
        )
    program = find_rabbitmq()
    if program is None:
        yield Finding("rabbitmq", "missing", "not installed", "install the package rabbitmq-server")
    else:
        yield Finding("rabbitmq", "ok", f"{program.version} in {program.home}")
    problem = engine_problem()
    yield Finding("containers", "ok" if problem is None else "missing", problem or "an engine answers")


def _given() -> Iterator[Finding]:
    for kind in (*KINDS, *DATABASES):
        name, url = URL_VARIABLES[kind], os.environ.get(URL_VARIABLES[kind])
        if not url:
            yield Finding(name, "ok", "not set")
            continue
        try:
            shown = parse_address(url).redacted
            probe_given(Given(kind, url))
            yield Finding(name, "ok", f"{shown} answers")
        except NotReady as reason:
            yield Finding(
                name, "wrong", f"{shown} does not answer: {reason}", "start it, correct it, or unset it"
            )
        except StreamproofError as error:
            yield Finding(name, "wrong", str(error), "correct it, or unset it")


def _brokers() -> Iterator[Finding]:
    for kind in KINDS:
        for name, private in ((kind, False), (f"{kind}, private", True)):
            how = find(kind, private=private)
            if isinstance(how, Absent):
                yield Finding(f"real {name}", "missing", how.reason, how.remedy)
            else:
                yield Finding(f"real {name}", "ok", str(how))
    for database in DATABASES:
        found = find_database(database)
        if isinstance(found, Absent):
            yield Finding(f"real {database}", "missing", found.reason, found.remedy)
        else:
            yield Finding(f"real {database}", "ok", str(found))


def _standing() -> Iterator[Finding]:
    for entry in standing():
        yield Finding(
            f"up: {entry.kind}", "ok", f"{parse_address(entry.url).redacted} (streamproof down ends it)"
        )


def _settings() -> Iterator[Finding]:
    try:
        settings = resolve(os.environ.get("STREAMPROOF_URL") or "memory://", {})
    except StreamproofError as error:
        yield Finding("settings", "wrong", str(error), "correct the setting at the place it names")
        return
    yield Finding("setting url", "ok", settings.address.redacted)
    in_force = {"namespace": settings.namespace, "timeout_s": settings.timeout_s, **settings.values}
    for name, origin in settings.origins.items():
        yield Finding(f"setting {name}", "ok", f"{in_force[name]!r} from {origin}")
