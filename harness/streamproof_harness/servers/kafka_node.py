"""One Kafka node, broker and controller in one (KRaft, KIP-500), as a local process."""

import base64
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamproof_harness.servers.availability import Kind
from streamproof_harness.servers.guard import Command, Guard
from streamproof_harness.servers.ports import LOOPBACK, Ports
from streamproof_harness.servers.probe import probe_kafka, probe_kafka_coordinators

# Small enough for a laptop and a test run: internal topics need one replica and few partitions,
# a group forms without the default wait of 3 s, and a topic exists because somebody created it.
SETTINGS = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # After a kill the controller refuses the broker until its old session is over (9 s by default). Not
    # shorter than a busy machine may keep a broker waiting: one that was fenced for a moment can lose a
    # group of clients for good (seen with 2 s and Kafka 4.3.0).
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "16777216",
}

LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
)


@dataclass(slots=True)
class KafkaNode:
    """What a Kafka node consists of; ``settings`` go over :data:`SETTINGS`."""

    java: str
    jars: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 512
    kind: Kind = "kafka"
    stream_port: int | None = None
    ports: Ports = field(default_factory=lambda: Ports(2))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"kafka://{LOOPBACK}:{self.ports.numbers[0]}"

    def prepare(self, guard: Guard, timeout_s: float) -> None:
        """Write the configuration and format the log directory."""
        properties = guard.directory / "server.properties"
        properties.write_text(self.properties(guard.directory / "data"))
        format_it = ["kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(properties)]
        guard.run("format", self._java(*format_it), timeout_s)

    def properties(self, data: Path) -> str:
        """The text of ``server.properties``."""
        client, controller = self.ports.numbers
        fixed = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{client},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{client}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(data),
        }
        return "".join(f"{name}={value}\n" for name, value in {**fixed, **SETTINGS, **self.settings}.items())

    def start(self, guard: Guard) -> None:
        """Start the broker's process."""
        properties = str(guard.directory / "server.properties")
        guard.start("broker", self._java(*LOGGING, "kafka.Kafka", properties))

    def probe(self, timeout_s: float) -> None:
        """Raise :class:`~streamproof_harness.servers.probe.NotReady` unless clients can work."""
        probe_kafka(LOOPBACK, self.ports.numbers[0], timeout_s)
        probe_kafka_coordinators(LOOPBACK, self.ports.numbers[0], timeout_s)

    def _java(self, *arguments: str) -> Command:
        argv: tuple[str, ...] = (self.java, "-server", f"-Xmx{self.heap_mb}m", "-XX:+ExitOnOutOfMemoryError")
        argv += ("-Djava.awt.headless=true", "-cp", f"{self.jars}/*", *arguments)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return Command(argv, kept)


def cluster_id() -> str:
    """A random id in Kafka's form, 22 letters of URL-safe base 64.

    The first is never a hyphen, which the format tool would take for an option.
    """
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
