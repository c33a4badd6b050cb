"""Names, arguments, addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.drivers.rabbitmq.topology import (
    endpoint_of,
    exchange_of,
    fitted,
    group_queue_arguments,
    group_queue_of,
    stream_arguments,
    stream_of,
    version_of,
)
from streamproof.errors import ConfigurationError
from streamproof.url import parse_address

names = st.text("abcxyz.-_0", min_size=1, max_size=249)
ids = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(names, ids, st.integers(0, 999), st.text(min_size=1, max_size=300))
def test_names_fit_and_tell_each_other_apart(topic, topic_id, partition, group):
    found = [
        exchange_of(topic, topic_id),
        stream_of(topic, topic_id, partition),
        stream_of(topic, topic_id, partition + 1),
        group_queue_of(topic, topic_id, partition, group),
        group_queue_of(topic, topic_id, partition, group + "x"),
    ]
    assert all(len(name.encode()) <= 255 for name in found)
    assert len(set(found)) == len(found)


def test_long_names_keep_their_beginning():
    assert fitted("a" * 300).startswith("a" * 200)
    assert fitted("ä" * 200) != fitted("ä" * 201)


def test_retention_is_told_to_the_stream():
    assert stream_arguments() == {"x-queue-type": "stream"}
    assert stream_arguments(1500)["x-max-age"] == "2s"
    limited = stream_arguments(None, 1_000_000, 3)
    assert limited["x-max-length-bytes"] == 1_000_000
    assert limited["x-stream-max-segment-size-bytes"] == 250_000
    assert limited["x-initial-cluster-size"] == 3


@pytest.mark.parametrize(("version", "has_limit"), [((3, 10, 8), False), ((3, 13), False), ((4, 0, 1), True)])
def test_the_delivery_limit_is_lifted_where_there_is_one(version, has_limit):
    assert ("x-delivery-limit" in group_queue_arguments(version)) is has_limit


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("3.10.8", (3, 10, 8)),
        (b"4.1.0-rc.1", (4, 1, 0)),
        ("4.0.5+3.gabc", (4, 0, 5)),
        ("unknown", (0,)),
        (None, (0,)),
    ],
)
def test_versions_are_read(told, expected):
    assert version_of({"version": told} if told is not None else None) == expected


def test_an_address_has_defaults():
    endpoint = endpoint_of(parse_address("amqp://host"))
    assert endpoint.hosts == (("host", 5672),)
    assert (endpoint.vhost, endpoint.username, endpoint.password) == ("/", "guest", "guest")
    assert endpoint.has_log


def test_an_address_is_taken_apart():
    endpoint = endpoint_of(
        parse_address("amqp://me:p%40ss@one:1,[::1]:2,two/v?log=off&heartbeat_s=5&max_message_bytes=9")
    )
    assert endpoint.hosts == (("one", 1), ("::1", 2), ("two", 5672))
    assert (endpoint.vhost, endpoint.username, endpoint.password) == ("v", "me", "p@ss")
    assert (endpoint.has_log, endpoint.heartbeat_s, endpoint.max_message_bytes) == (False, 5, 9)
    assert "p@ss" not in endpoint.redacted


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("amqp://h/?lgo=on", "unknown option 'lgo'"),
        ("amqp://h/?log=maybe", "neither on nor off"),
        ("amqp://h/?heartbeat_s=0", "whole number"),
        ("amqp://h:port/", "port"),
        ("amqp://h:99999/", "port"),
    ],
)
def test_a_bad_address_is_refused(url, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        endpoint_of(parse_address(url))
