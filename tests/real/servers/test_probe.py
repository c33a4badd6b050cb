"""Readiness probes against real brokers: the right answer, and what is said about every other one."""

import dataclasses
import socket
import threading

import pytest

from streamproof.url import Address, parse_address
from streamproof_harness.servers.probe import (
    AMQP_PORT,
    KAFKA_PORT,
    NotReady,
    host_and_port,
    probe_amqp,
    probe_kafka,
    probe_kafka_coordinators,
    probe_stream,
)

BOUND_S = 10.0


def test_kafka_answers(kafka_url):
    place = host_and_port(parse_address(kafka_url), KAFKA_PORT)
    probe_kafka(*place, BOUND_S)
    probe_kafka_coordinators(*place, BOUND_S)


def test_rabbitmq_answers(rabbitmq_url):
    probe_amqp(parse_address(rabbitmq_url), BOUND_S)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong"}, "refused: 403 ACCESS_REFUSED"),
        ({"path": "none"}, "refused: 530 .*vhost none not found"),
    ],
)
def test_rabbitmq_refuses_with_a_reason(rabbitmq_url, change, reason):
    with pytest.raises(NotReady, match=reason):
        probe_amqp(dataclasses.replace(parse_address(rabbitmq_url), **change), BOUND_S)


def test_kafka_is_no_rabbitmq(kafka_url):
    with pytest.raises(NotReady):
        probe_amqp(parse_address(kafka_url), BOUND_S)
    with pytest.raises(NotReady):
        probe_stream(*host_and_port(parse_address(kafka_url), KAFKA_PORT), BOUND_S)


def test_rabbitmq_is_no_kafka(rabbitmq_url):
    with pytest.raises(NotReady, match="none of this protocol's"):
        probe_kafka(*host_and_port(parse_address(rabbitmq_url), AMQP_PORT), BOUND_S)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed before the answer"),
        (b"\0\0\0\x04\0\0\0\x07", "not Kafka's"),
        (b"\0\0\0\x06\0\0\0\x01\0\0", "cut short"),
        # Correlation 1, no throttling, no brokers, no cluster id, no controller: a broker that is fenced.
        (b"\0\0\0\x12\0\0\0\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", "no broker is registered yet"),
    ],
)
def test_whatever_else_answers_is_not_ready(answer, reason):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        try:
            with pytest.raises(NotReady, match=reason):
                probe_kafka(*listener.getsockname(), BOUND_S)
        finally:
            server.join(BOUND_S)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("kafka://broker:1234,other:1", ("broker", 1234)),
        ("kafka://broker", ("broker", KAFKA_PORT)),
        ("kafka://[::1]:1234", ("::1", 1234)),
        ("kafka://[::1]", ("::1", KAFKA_PORT)),
    ],
)
def test_where_a_url_points(url, place):
    assert host_and_port(parse_address(url), KAFKA_PORT) == place


def test_where_no_url_points():
    with pytest.raises(NotReady, match="names no host"):
        host_and_port(Address("kafka", (), ""), KAFKA_PORT)
