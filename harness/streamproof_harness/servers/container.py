"""A broker in a container, through the ``docker`` command; removed by the watchdog in any case."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

from streamproof.url import parse_address
from streamproof_harness.servers.availability import Container, Kind, ServerError
from streamproof_harness.servers.guard import Command, Guard
from streamproof_harness.servers.kafka_node import SETTINGS as KAFKA_SETTINGS
from streamproof_harness.servers.ports import LOOPBACK, Ports
from streamproof_harness.servers.probe import (
    NotReady,
    probe_amqp,
    probe_kafka,
    probe_kafka_coordinators,
    probe_stream,
)

IMAGES: dict[Kind, str] = {"kafka": "apache/kafka:4.3.0", "rabbitmq": "rabbitmq:4.2.5"}
IMAGE_VARIABLES: dict[Kind, str] = {
    "kafka": "STREAMPROOF_KAFKA_IMAGE",
    "rabbitmq": "STREAMPROOF_RABBITMQ_IMAGE",
}
ENGINE_BOUND_S = 10.0
VERB_BOUND_S = 60.0
PROBE_EVERY_S = 0.1


def engine_problem() -> str | None:
    """Why no container can be started here, or nothing if an engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not on the PATH"
    command = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ENGINE_BOUND_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"docker does not answer: {error}"
    if done.returncode != 0:
        return "no container engine answers the docker command"
    return None


def wanted_image(kind: Kind) -> str:
    """The image to run: of the environment variable, else the pinned one."""
    return os.environ.get(IMAGE_VARIABLES[kind]) or IMAGES[kind]


def kafka_arguments(ports: Sequence[int], settings: Mapping[str, str], heap_mb: int) -> list[str]:
    """``docker run`` options for Kafka. It listens on the same port inside and outside, as it must
    advertise the one that clients reach."""
    client, controller = ports[:2]
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@localhost:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{client},CONTROLLER://:{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{client}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        **KAFKA_SETTINGS,
        **settings,
    }
    options = ["-p", f"{LOOPBACK}:{client}:{client}", "-e", f"KAFKA_HEAP_OPTS=-Xmx{heap_mb}m"]
    for name, value in values.items():
        options += ["-e", f"KAFKA_{name.upper().replace('.', '_')}={value}"]
    return options


def rabbitmq_arguments(ports: Sequence[int]) -> list[str]:
    """``docker run`` options for RabbitMQ."""
    amqp, stream = ports[:2]
    advertised = f"-rabbitmq_stream advertised_host {LOOPBACK} -rabbitmq_stream advertised_port {stream}"
    options = ["--hostname", "streamproof", "-e", f"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={advertised}"]
    return [*options, "-p", f"{LOOPBACK}:{amqp}:5672", "-p", f"{LOOPBACK}:{stream}:5552"]


RABBITMQ_COMMAND = (
    "sh",
    "-c",
    "rabbitmq-plugins enable --offline rabbitmq_stream && exec docker-entrypoint.sh rabbitmq-server",
)


class ContainerServer:
    """A started container; see :class:`~streamproof_harness.servers.server.Server` for the verbs."""

    def __init__(self, how: Container, settings: Mapping[str, str], heap_mb: int, timeout_s: float) -> None:
        if how.kind == "rabbitmq" and settings:
            raise ServerError("settings for RabbitMQ in a container are not supported: use a local process")
        self.how = how
        self.ports = Ports(2)
        self._name = f"streamproof-{how.kind}-{uuid4().hex[:12]}"
        self._timeout_s = timeout_s
        self._guard = Guard(f"streamproof-{how.kind}-")
        try:
            # Before there is one: so that no moment is left in which it could stay behind.
            self._guard.at_end([*self._docker("rm", "-f", "-v"), self._name])
            options = (
                kafka_arguments(self.ports.numbers, settings, heap_mb)
                if how.kind == "kafka"
                else rabbitmq_arguments(self.ports.numbers)
            )
            command = RABBITMQ_COMMAND if how.kind == "rabbitmq" else ()
            self._run(
                "run", "-d", "--name", self._name, "--label", "streamproof", *options, how.image, *command
            )
            self._wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    @property
    def kind(self) -> Kind:
        """Which broker it is."""
        return self.how.kind

    @property
    def url(self) -> str:
        """Where clients connect."""
        port = self.ports.numbers[0]
        return (
            f"kafka://{LOOPBACK}:{port}" if self.kind == "kafka" else f"amqp://guest:guest@{LOOPBACK}:{port}/"
        )

    @property
    def stream_port(self) -> int | None:
        """RabbitMQ's port for the stream protocol."""
        return self.ports.numbers[1] if self.kind == "rabbitmq" else None

    @property
    def guard(self) -> Guard:
        """The watchdog that removes the container."""
        return self._guard

    def is_running(self) -> bool:
        """The engine says so."""
        return self._run("inspect", "-f", "{{.State.Running}}", self._name).strip() == "true"

    def kill(self) -> None:
        """SIGKILL to its first process."""
        self._run("kill", "-s", "KILL", self._name)
        self._run("wait", self._name)

    def restart(self, timeout_s: float | None = None) -> None:
        """Stop it if it runs, start it again, wait until ready."""
        self._run("restart", "-t", f"{VERB_BOUND_S:.0f}", self._name, timeout_s=2 * VERB_BOUND_S)
        self._wait_ready(self._timeout_s if timeout_s is None else timeout_s)

    def pause(self) -> None:
        """Freeze all its processes."""
        self._run("pause", self._name)

    def resume(self) -> None:
        """Let them go on; without a pause, nothing happens."""
        if self._run("inspect", "-f", "{{.State.Paused}}", self._name).strip() == "true":
            self._run("unpause", self._name)

    def logs(self, lines: int = 30) -> str:
        """The last lines of its output."""
        return self._run("logs", "--tail", str(lines), self._name)

    def stop(self) -> None:
        """Remove the container and its volumes."""
        self._guard.end()
        self.ports.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _docker(self, *arguments: str) -> list[str]:
        return [shutil.which("docker") or "docker", *arguments]

    def _run(self, *arguments: str, timeout_s: float | None = None) -> str:
        """One docker command, started by the watchdog so that it cannot outlive us."""
        step = f"docker-{arguments[0]}"
        self._guard.log(step).unlink(missing_ok=True)
        bound_s = timeout_s or max(VERB_BOUND_S, self._timeout_s if arguments[0] == "run" else 0)
        self._guard.run(step, Command(self._docker(*arguments), dict(os.environ)), bound_s)
        return self._guard.tail(step, lines=1_000)

    def _wait_ready(self, timeout_s: float) -> None:
        reason, deadline = "it was not asked yet", time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                self._probe()
            except NotReady as not_yet:
                reason = str(not_yet)
                if not self.is_running():
                    break
                time.sleep(PROBE_EVERY_S)
            else:
                return
        raise ServerError(f"{self.how.image} was not ready in time: {reason}\n{self.logs()}")

    def _probe(self) -> None:
        if self.kind == "kafka":
            probe_kafka(LOOPBACK, self.ports.numbers[0], 2.0)
            probe_kafka_coordinators(LOOPBACK, self.ports.numbers[0], 2.0)
        else:
            probe_amqp(parse_address(self.url), 2.0)
            probe_stream(LOOPBACK, self.ports.numbers[1], 2.0)
