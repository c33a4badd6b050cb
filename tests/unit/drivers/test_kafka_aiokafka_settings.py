"""What a URL and options mean to aiokafka's clients."""

import ssl

import pytest

from streamproof.drivers.kafka_aiokafka.settings import (
    address_settings,
    consumer_settings,
    producer_settings,
)
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import parse_address


def settings_of(url):
    return address_settings(parse_address(url))


def test_the_defaults_are_the_safe_ones():
    address = settings_of("kafka://one:1,two")
    producer = producer_settings(address, ProducerOptions())
    assert producer["bootstrap_servers"] == ["one:1", "two:9092"]
    assert (producer["acks"], producer["enable_idempotence"]) == ("all", True)
    consumer = consumer_settings(address, ConsumerOptions(topics=("t",), group="g"))
    assert (consumer["enable_auto_commit"], consumer["auto_offset_reset"]) == (False, "none")
    assert (consumer["group_id"], consumer["isolation_level"]) == ("g", "read_committed")
    assert consumer["heartbeat_interval_ms"] * 3 <= consumer["session_timeout_ms"]


def test_options_of_the_url_are_translated_for_the_clients_that_have_them():
    address = settings_of("kafka://h/?client.id=me&linger.ms=7&fetch.min.bytes=9&batch.size=1000")
    producer = producer_settings(address, ProducerOptions(linger_ms=1.0))
    consumer = consumer_settings(address, ConsumerOptions(topics=("t",)))
    assert (producer["client_id"], producer["linger_ms"], producer["max_batch_size"]) == ("me", 7.0, 1000)
    assert (consumer["client_id"], consumer["fetch_min_bytes"]) == ("me", 9)
    assert "fetch_min_bytes" not in producer
    assert "linger_ms" not in consumer


def test_a_password_travels_encrypted_unless_the_url_asks_for_less():
    common = settings_of("kafka://me:secret@h").common
    assert common["security_protocol"] == "SASL_SSL"
    assert isinstance(common["ssl_context"], ssl.SSLContext)
    assert common["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert (common["sasl_mechanism"], common["sasl_plain_username"]) == ("PLAIN", "me")
    plain = settings_of("kafka://me:secret@h/?security.protocol=sasl_plaintext&sasl.mechanisms=scram-sha-256")
    assert plain.common["security_protocol"] == "SASL_PLAINTEXT"
    assert plain.common["sasl_mechanism"] == "SCRAM-SHA-256"
    assert "ssl_context" not in plain.common


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("kafka://h/?no.such.option=1", "no.such.option"),
        ("kafka://h/?auto.offset.reset=latest", "auto.offset.reset"),
        ("kafka://h/?linger.ms=soon", "linger.ms"),
        ("kafka://h/?security.protocol=secret", "security.protocol"),
        ("kafka://h/?partition.assignment.strategy=cooperative-sticky", "sticky"),
        ("kafka://h/?security.protocol=ssl&ssl.ca.location=/no/such/file", "ssl"),
        ("kafka://", "broker"),
    ],
)
def test_what_cannot_be_is_refused_by_name(url, word):
    with pytest.raises(ConfigurationError, match=word):
        settings_of(url)


@pytest.mark.parametrize("name", ["bootstrap_servers", "key_serializer", "partitioner", "transactional.id"])
def test_native_cannot_overrule_what_the_driver_relies_on(name):
    with pytest.raises(ConfigurationError, match=name):
        producer_settings(settings_of("kafka://h"), ProducerOptions(native={name: "x"}))


def test_native_takes_the_librarys_own_names_and_the_urls():
    options = ProducerOptions(native={"max_batch_size": 5, "retry.backoff.ms": "6"})
    settings = producer_settings(settings_of("kafka://h"), options)
    assert (settings["max_batch_size"], settings["retry_backoff_ms"]) == (5, 6)


def test_a_transactional_producers_options_reach_the_library():
    options = ProducerOptions(transactional_id="t", transaction_timeout_s=2.5)
    settings = producer_settings(settings_of("kafka://h"), options)
    assert settings["transactional_id"] == "t"
    assert settings["transaction_timeout_ms"] == 2500
    assert "transactional_id" not in producer_settings(settings_of("kafka://h"), ProducerOptions())
    with pytest.raises(ConfigurationError, match="32768 bytes"):
        producer_settings(settings_of("kafka://h"), ProducerOptions(transactional_id="x" * 32_768))


def test_a_poll_interval_below_the_session_is_refused():
    options = ConsumerOptions(topics=("t",), session_timeout_s=10, max_poll_interval_s=5)
    with pytest.raises(ConfigurationError, match="max_poll_interval_s"):
        consumer_settings(settings_of("kafka://h"), options)
