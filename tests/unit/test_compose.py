"""What the compose files promise; containers themselves are another test's matter."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from streamproof_harness.servers.container import IMAGES

FOLDER = Path(__file__).resolve().parents[2] / "compose"
FILES = sorted(FOLDER.glob("*.yml"))
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def load(file: Path) -> dict:
    """The file with the defaults of its variables, as ``docker compose`` reads it without an environment."""
    text = VARIABLE.sub(lambda found: found[2], file.read_text(encoding="utf-8"))
    return yaml.safe_load(text.replace("$$", "$"))


def services() -> list:
    return [
        pytest.param(service, load(file), id=f"{file.stem}:{name}")
        for file in FILES
        for name, service in load(file)["services"].items()
    ]


def test_both_brokers_are_there():
    assert {"kafka", "rabbitmq"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_images_are_pinned_behind_a_variable(file):
    images = re.findall(r"^\s*image:\s*(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert images
    for image in images:
        found = VARIABLE.fullmatch(image)
        assert found, f"{image} cannot be changed from outside"
        assert re.search(r":\d+\.\d+\.\d+$", found[2]), f"{found[2]} is not pinned"


@pytest.mark.parametrize("kind", IMAGES)
def test_the_images_are_those_that_servers_starts(kind):
    assert load(FOLDER / f"{kind}.yml")["services"][kind]["image"] == IMAGES[kind]


@pytest.mark.parametrize(("service", "document"), services())
def test_ports_are_published_on_loopback_alone(service, document):
    assert service["ports"]
    assert [port for port in service["ports"] if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


@pytest.mark.parametrize(("service", "document"), services())
def test_data_is_in_named_volumes(service, document):
    names = [volume.split(":")[0] for volume in service["volumes"]]
    assert names
    assert set(names) == set(document["volumes"])


@pytest.mark.parametrize(("service", "document"), services())
def test_health_is_asked_and_the_wait_has_a_bound(service, document):
    health = service["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(health)


def test_kafka_advertises_the_port_that_is_published():
    text = (
        (FOLDER / "kafka.yml").read_text(encoding="utf-8").replace("${STREAMPROOF_KAFKA_PORT:-9092}", "1234")
    )
    service = yaml.safe_load(text)["services"]["kafka"]
    assert service["ports"] == ["127.0.0.1:1234:9092"]
    assert "HOST://127.0.0.1:1234" in service["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")


def amqp_question() -> str:
    """The part of RabbitMQ's health check that speaks the protocol."""
    test = load(FOLDER / "rabbitmq.yml")["services"]["rabbitmq"]["healthcheck"]["test"]
    assert test[:3] == ["CMD", "bash", "-c"]
    return test[3].partition("&& ")[2]


def ask(question: str, url: str) -> int:
    port = url.rstrip("/").rpartition(":")[2]
    done = subprocess.run(
        ["timeout", "5", "bash", "-c", question.replace("5672", port)], stdin=subprocess.DEVNULL
    )
    return done.returncode


def test_the_amqp_question_is_answered_by_rabbitmq(rabbitmq_url):
    assert ask(amqp_question(), rabbitmq_url) == 0


def test_the_amqp_question_is_not_answered_by_something_else(kafka_url):
    assert ask(amqp_question(), kafka_url) != 0
