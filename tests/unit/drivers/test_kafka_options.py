"""Settings of Kafka's clients."""

import pytest

from streamproof.drivers.kafka.options import (
    bootstrap_servers,
    client_settings,
    consumer_settings,
    is_cooperative,
    limit,
    own_topics,
    producer_settings,
    topic_settings,
)
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import parse_address


def address(rest):
    return parse_address(f"kafka://{rest}")


def reading(**options):
    return ConsumerOptions(topics=("t",), **options)


def test_several_brokers_with_and_without_a_port():
    assert bootstrap_servers(address("one:9093,two,[::1]:7,[::1]")) == [
        "one:9093",
        "two:9092",
        "[::1]:7",
        "[::1]:9092",
    ]


@pytest.mark.parametrize("rest", ["", "/path", "host:9092/path"])
def test_addresses_that_name_no_broker_are_refused(rest):
    with pytest.raises(ConfigurationError):
        bootstrap_servers(address(rest))


def test_credentials_of_the_url_travel_encrypted_unless_it_says_otherwise():
    settings = client_settings(address("user:pass@host"))
    assert (settings["sasl.username"], settings["sasl.password"]) == ("user", "pass")
    assert (settings["security.protocol"], settings["sasl.mechanism"]) == ("sasl_ssl", "PLAIN")
    settings = client_settings(
        address("user:pass@host?security.protocol=sasl_plaintext&sasl.mechanisms=SCRAM-SHA-256")
    )
    assert (settings["security.protocol"], settings["sasl.mechanism"]) == ("sasl_plaintext", "SCRAM-SHA-256")
    assert "sasl.username" not in client_settings(address("host"))


def test_the_librarys_own_names_pass_through():
    common = client_settings(address("host?client.id=me&linger.ms=7"))
    assert common["client.id"] == "me"
    assert producer_settings(client_settings(address("host")), ProducerOptions())["linger.ms"] == 5.0
    assert producer_settings(common, ProducerOptions())["linger.ms"] == "7"
    assert producer_settings(common, ProducerOptions(native={"linger.ms": 9}))["linger.ms"] == 9


@pytest.mark.parametrize("name", ["bootstrap.servers", "group.id", "enable.auto.commit", "auto.offset.reset"])
def test_what_the_driver_relies_on_cannot_be_overruled(name):
    with pytest.raises(ConfigurationError, match=name):
        client_settings(address(f"host?{name}=x"))
    with pytest.raises(ConfigurationError, match=name):
        consumer_settings({}, reading(native={name: "x"}), "g")
    with pytest.raises(ConfigurationError, match=name):
        producer_settings({}, ProducerOptions(native={name: "x"}))


def test_a_producer_is_safe_by_default():
    settings = producer_settings({}, ProducerOptions())
    assert (settings["acks"], settings["enable.idempotence"]) == ("all", True)
    assert settings["partitioner"] == "murmur2_random"
    assert client_settings(address("host"))["allow.auto.create.topics"] is False


def test_a_producers_options_reach_the_library():
    options = ProducerOptions(
        acks="leader",
        is_idempotent=False,
        linger_ms=1.5,
        buffer_records=7,
        delivery_timeout_s=2.5,
        compression="lz4",
    )
    settings = producer_settings({}, options)
    expected = {
        "acks": 1,
        "enable.idempotence": False,
        "linger.ms": 1.5,
        "queue.buffering.max.messages": 7,
        "message.timeout.ms": 2500,
        "request.timeout.ms": 2500,
        "compression.type": "lz4",
    }
    assert {name: settings[name] for name in expected} == expected


def test_a_transactional_producers_options_reach_the_library():
    options = ProducerOptions(transactional_id="t", transaction_timeout_s=2.5)
    settings = producer_settings({}, options)
    expected = {"transactional.id": "t", "transaction.timeout.ms": 2500, "message.timeout.ms": 2500}
    assert {name: settings[name] for name in expected} == expected
    assert "transactional.id" not in producer_settings({}, ProducerOptions())
    longest = producer_settings({}, ProducerOptions(transactional_id="t", delivery_timeout_s=1.5))
    assert longest["message.timeout.ms"] == 1500


def test_a_transactional_id_fits_into_a_request():
    longest = "ü" * 16_383
    assert producer_settings({}, ProducerOptions(transactional_id=longest))["transactional.id"] == longest
    with pytest.raises(ConfigurationError, match="32768 bytes"):
        producer_settings({}, ProducerOptions(transactional_id="ü" * 16_384))


def test_a_consumers_options_reach_the_library():
    options = reading(
        session_timeout_s=7.5, max_poll_interval_s=60, client_id="me", isolation="read_uncommitted"
    )
    settings = consumer_settings({}, options, "g")
    expected = {
        "group.id": "g",
        "session.timeout.ms": 7500,
        "heartbeat.interval.ms": 1000,
        "max.poll.interval.ms": 60_000,
        "client.id": "me",
        "isolation.level": "read_uncommitted",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
    }
    assert {name: settings[name] for name in expected} == expected


def test_a_poll_interval_below_the_session_is_refused():
    with pytest.raises(ConfigurationError, match="max_poll_interval_s"):
        consumer_settings({}, reading(session_timeout_s=10, max_poll_interval_s=5), "g")


@pytest.mark.parametrize("origin", ["native", "url"])
def test_the_new_group_protocol_leaves_to_the_broker_what_is_the_brokers(origin):
    native = {"group.protocol": "consumer"}
    common = client_settings(address("host?group.protocol=consumer")) if origin == "url" else {}
    settings = consumer_settings(common, reading(native=native if origin == "native" else {}), "g")
    for name in ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"):
        assert name not in settings
    assert is_cooperative(settings)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("cooperative-sticky", True), ("range", False), ("range,roundrobin", False), ("", False)],
)
def test_cooperative_rebalances_are_told_from_eager_ones(strategy, expected):
    assert is_cooperative({"partition.assignment.strategy": strategy}) is expected


def test_settings_and_limits_of_topics():
    assert topic_settings(None, None, False) == {}
    assert topic_settings(5, 6, True) == {
        "retention.ms": "5",
        "retention.bytes": "6",
        "cleanup.policy": "compact",
    }
    assert [limit(text) for text in (None, "-1", "0", "604800000")] == [None, None, 0, 604_800_000]
    assert own_topics(["b", "__consumer_offsets", "a", "_c"]) == ["_c", "a", "b"]
