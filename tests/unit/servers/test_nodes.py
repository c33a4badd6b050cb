"""What the brokers are told: configuration, environment, commands."""

from pathlib import Path

import pytest

from streamproof_harness.servers import ServerError
from streamproof_harness.servers.container import kafka_arguments, rabbitmq_arguments
from streamproof_harness.servers.java import java_major
from streamproof_harness.servers.kafka_jars import DEFAULT_VERSION, wanted_version
from streamproof_harness.servers.kafka_node import KafkaNode, cluster_id
from streamproof_harness.servers.ports import Ports
from streamproof_harness.servers.rabbitmq_node import RabbitMQNode, RabbitMQProgram, find_rabbitmq


def lines(text: str, separator: str) -> dict[str, str]:
    """A properties file as a mapping."""
    return dict(line.split(separator, 1) for line in text.splitlines())


@pytest.fixture
def program(tmp_path) -> RabbitMQProgram:
    return RabbitMQProgram(tmp_path, "4.2.0", "/usr/bin/epmd")


@pytest.fixture
def kafka(tmp_path) -> KafkaNode:
    return KafkaNode("java", tmp_path, {"message.max.bytes": "1234", "offsets.topic.num.partitions": "7"})


def test_kafka_listens_on_loopback_alone(kafka):
    client, controller = kafka.ports.numbers
    properties = lines(kafka.properties(Path("/data")), "=")
    assert kafka.url == f"kafka://127.0.0.1:{client}"
    assert properties["listeners"] == f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}"
    assert properties["advertised.listeners"] == f"PLAINTEXT://127.0.0.1:{client}"


def test_kafka_settings_of_the_caller_win(kafka):
    properties = lines(kafka.properties(Path("/data")), "=")
    assert properties["message.max.bytes"] == "1234"
    assert properties["offsets.topic.num.partitions"] == "7"
    assert properties["group.initial.rebalance.delay.ms"] == "0"


def test_a_cluster_id_is_never_taken_for_an_option():
    made = [cluster_id() for _ in range(300)]
    assert len(set(made)) == 300
    assert {(len(each), each.startswith("-")) for each in made} == {(22, False)}


def test_rabbitmq_is_a_node_of_its_own_on_loopback(program, tmp_path, monkeypatch):
    monkeypatch.setenv("RABBITMQ_NODENAME", "rabbit@system")
    monkeypatch.setenv("ERL_FLAGS", "-somebody elses")
    node = RabbitMQNode(program, {"heartbeat": "5"})
    amqp, stream, distribution, epmd = node.ports.numbers
    configuration = lines(node.configuration(), " = ")
    assert configuration["listeners.tcp.1"] == f"127.0.0.1:{amqp}"
    assert configuration["stream.listeners.tcp.1"] == f"127.0.0.1:{stream}"
    assert configuration["heartbeat"] == "5"
    environment = node.environment(tmp_path)
    assert environment["RABBITMQ_NODENAME"] == f"streamproof-{amqp}@localhost"
    assert environment["RABBITMQ_DIST_PORT"] == str(distribution)
    assert environment["ERL_EPMD_PORT"] == str(epmd)
    assert environment["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert "ERL_FLAGS" not in environment
    assert all(
        value.startswith(str(tmp_path))
        for name, value in environment.items()
        if name in ("HOME", "RABBITMQ_MNESIA_BASE", "RABBITMQ_LOG_BASE", "RABBITMQ_PID_FILE")
    )


def test_the_newest_installed_rabbitmq_is_found(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("erl", "epmd"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for version in ("3.9.29", "3.13.7", "4.2.5"):
        home = tmp_path / f"usr/lib/rabbitmq/lib/rabbitmq_server-{version}/sbin"
        home.mkdir(parents=True)
        (home / "rabbitmq-server").touch()
    # One whose installation was not finished.
    (tmp_path / "usr/lib/rabbitmq/lib/rabbitmq_server-5.0.0").mkdir()
    monkeypatch.delenv("STREAMPROOF_RABBITMQ_HOME", raising=False)
    monkeypatch.setenv("PATH", str(programs))
    found = find_rabbitmq(tmp_path)
    assert found is not None
    assert (found.version, found.home.name) == ("4.2.5", "rabbitmq_server-4.2.5")
    monkeypatch.setenv(
        "STREAMPROOF_RABBITMQ_HOME", str(tmp_path / "usr/lib/rabbitmq/lib/rabbitmq_server-3.13.7")
    )
    found = find_rabbitmq(tmp_path)
    assert found is not None
    assert found.version == "3.13.7"
    (programs / "erl").unlink()
    assert find_rabbitmq(tmp_path) is None


def test_ports_are_claimed_until_they_are_released():
    ports = Ports(200)
    assert len(set(ports.numbers)) == 200
    others = Ports(200)
    assert not set(ports.numbers) & set(others.numbers)
    ports.release()
    others.release()
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if low > 20_000:
        assert not [port for port in ports.numbers if low <= port <= high]


def test_more_ports_than_there_are_is_an_error():
    with pytest.raises(ServerError, match="found no 100000 free ports"):
        Ports(100_000)


@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ("bash: java: nonsense", None),
    ],
)
def test_java_versions(answer, major):
    assert java_major(answer) == major


def test_the_wanted_kafka(monkeypatch):
    monkeypatch.delenv("STREAMPROOF_KAFKA_VERSION", raising=False)
    assert wanted_version() == DEFAULT_VERSION
    monkeypatch.setenv("STREAMPROOF_KAFKA_VERSION", "4.1.1")
    assert wanted_version() == "4.1.1"
    monkeypatch.setenv("STREAMPROOF_KAFKA_VERSION", "../4.1.1")
    with pytest.raises(ServerError, match="is no version"):
        wanted_version()


def test_containers_publish_on_loopback_and_advertise_what_clients_reach():
    kafka = kafka_arguments([20_001, 20_002], {"log.retention.ms": "5"}, heap_mb=256)
    assert "127.0.0.1:20001:20001" in kafka
    assert "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:20001" in kafka
    assert "KAFKA_LOG_RETENTION_MS=5" in kafka
    rabbitmq = rabbitmq_arguments([20_001, 20_002])
    assert {"127.0.0.1:20001:5672", "127.0.0.1:20002:5552"} <= set(rabbitmq)
    assert any("advertised_port 20002" in option for option in rabbitmq)
