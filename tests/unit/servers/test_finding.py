"""Which way is taken, and what is said when there is none."""

import pytest

from streamproof.errors import Unsupported
from streamproof_harness import servers
from streamproof_harness.servers import Absent, Given, ServerAbsent, ServerError
from streamproof_harness.servers.ports import Ports


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine on which nothing is installed."""
    for name in (
        "STREAMPROOF_KAFKA_URL",
        "STREAMPROOF_RABBITMQ_URL",
        "STREAMPROOF_RABBITMQ_HOME",
        "JAVA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def executable(file, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("kind", servers.KINDS)
def test_a_given_url_comes_first_but_is_never_private(bare, monkeypatch, kind):
    monkeypatch.setenv(servers.URL_VARIABLES[kind], "kafka://broker:9092")
    assert servers.find(kind) == Given(kind, "kafka://broker:9092")
    assert isinstance(servers.find(kind, private=True), Absent)


@pytest.mark.parametrize("kind", servers.KINDS)
def test_absence_has_a_reason_and_a_remedy(bare, kind):
    how = servers.find(kind)
    assert isinstance(how, Absent)
    assert "docker is not on the PATH" in how.reason
    assert servers.URL_VARIABLES[kind] in how.remedy
    with pytest.raises(ServerAbsent, match=how.reason):
        servers.start(kind)


@pytest.mark.parametrize(
    ("java", "reason"),
    [
        (None, "java is not on the PATH"),
        ("exit 1", "java is not on the PATH"),
        ("echo 'openjdk version \"11.0.2\"' >&2", "is Java 11, Kafka needs 17"),
        ("echo 'openjdk version \"21.0.1\"' >&2", "not in the cache and mvn is not on the PATH"),
    ],
)
def test_why_there_is_no_local_kafka(bare, java, reason):
    if java is not None:
        executable(bare / "java", java)
    how = servers.find("kafka")
    assert isinstance(how, Absent)
    assert reason in how.reason


def test_an_engine_that_answers_makes_a_container_possible(bare):
    executable(bare / "docker", "echo 28.0.0")
    assert str(servers.find("rabbitmq")).startswith("in a container: rabbitmq:")
    executable(bare / "docker", "exit 1")
    how = servers.find("rabbitmq")
    assert isinstance(how, Absent)
    assert "no container engine answers" in how.reason


def test_a_given_broker_that_does_not_answer_is_an_error_that_says_so(bare, monkeypatch):
    ports = Ports(1)
    monkeypatch.setenv("STREAMPROOF_KAFKA_URL", f"kafka://me:secret@127.0.0.1:{ports.numbers[0]}")
    with pytest.raises(
        ServerError, match=r"STREAMPROOF_KAFKA_URL is set, but .* does not answer as kafka"
    ) as found:
        servers.kafka()
    assert "secret" not in str(found.value)
    wrong = {finding.name: finding for finding in servers.doctor() if finding.status == "wrong"}
    assert list(wrong) == ["STREAMPROOF_KAFKA_URL"]
    assert "secret" not in wrong["STREAMPROOF_KAFKA_URL"].detail
    ports.release()


def test_doctor_tells_what_is_missing_and_what_to_do(bare):
    findings = {finding.name: finding for finding in servers.doctor()}
    for name in ("java", "kafka jars", "rabbitmq", "containers", "real kafka", "real rabbitmq, private"):
        assert findings[name].status == "missing", name
    assert findings["real kafka"].remedy.startswith("install Java 17")
    assert findings["python"].status == "ok"
    assert not [finding for finding in findings.values() if finding.status == "wrong"]


def test_a_wrong_setting_is_found_with_its_place(bare, monkeypatch):
    monkeypatch.setenv("STREAMPROOF_TIMEOUT_S", "soon")
    wrong = [finding for finding in servers.doctor() if finding.status == "wrong"]
    assert [finding.name for finding in wrong] == ["settings"]
    assert "STREAMPROOF_TIMEOUT_S" in wrong[0].detail
    monkeypatch.setenv("STREAMPROOF_TIMEOUT_S", "3")
    assert "3.0 from STREAMPROOF_TIMEOUT_S" in [finding.detail for finding in servers.doctor()]


def test_maven_that_fails_is_quoted_and_leaves_no_half_cache(bare, monkeypatch):
    executable(bare / "java", "echo 'openjdk version \"17.0.1\"' >&2")
    executable(bare / "mvn", "echo 'no such artifact'; exit 1")
    with pytest.raises(
        ServerError, match=r"Maven could not bring org\.apache\.kafka:kafka_2\.13:(.|\n)*no such artifact"
    ):
        servers.kafka()
    assert [file.suffix for file in (bare / "streamproof").iterdir()] == [".lock"]
    assert isinstance(servers.find("kafka"), servers.Local)


def test_a_given_broker_is_not_harmed(kafka_url, monkeypatch):
    monkeypatch.setenv("STREAMPROOF_KAFKA_URL", kafka_url)
    with servers.kafka() as server:
        assert server.url == kafka_url
        for harm in (server.kill, server.restart, server.pause, server.resume):
            with pytest.raises(Unsupported, match="private=True"):
                harm()
    assert server.is_running()
