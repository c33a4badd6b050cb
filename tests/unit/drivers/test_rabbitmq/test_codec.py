"""Records to AMQP properties and back, byte for byte."""

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from streamproof.drivers.rabbitmq.codec import (
    header_table,
    message_of,
    properties_bytes,
    read_message,
    read_properties,
    sequence_of,
)

keys = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=50)), max_size=5).map(tuple)
times_ms = st.integers(-(2**40), 2**45)


@given(keys, st.booleans(), headers, times_ms, st.none() | st.binary(max_size=9))
def test_what_is_written_is_read(key, is_null, given_headers, timestamp_ms, mark):
    raw = properties_bytes(key, is_null, given_headers, timestamp_ms, b"origin-1f", mark)
    message = read_message(raw, b"" if is_null else b"body")
    assert message.key == key
    assert message.value == (None if is_null else b"body")
    assert message.headers == given_headers
    assert message.timestamp_ms == timestamp_ms
    assert message.message_id == "origin-1f"
    assert message.mark == mark


@given(keys, st.booleans(), headers, times_ms)
def test_client_libraries_read_the_same(key, is_null, given_headers, timestamp_ms):
    raw = properties_bytes(key, is_null, given_headers, timestamp_ms, b"origin-1f")
    theirs = pika.BasicProperties().decode(raw)
    assert theirs.delivery_mode == 2
    assert theirs.message_id == "origin-1f"
    mine = message_of(theirs.headers, theirs.message_id, theirs.timestamp, b"")
    assert (mine.key, mine.headers, mine.timestamp_ms) == (key, given_headers, timestamp_ms)
    other = commands.Basic.Properties()
    other.unmarshal(int.from_bytes(raw[:2]), raw[2:])
    same = message_of(other.headers or {}, other.message_id or "", None, b"")
    assert (same.key, same.headers, same.timestamp_ms) == (key, given_headers, timestamp_ms)


@given(keys, st.booleans(), headers, times_ms)
def test_a_library_that_encodes_the_table_itself_writes_the_same_record(
    key, is_null, given_headers, timestamp_ms
):
    table = header_table(key, is_null, given_headers, timestamp_ms)
    raw = b"".join(_encoded(headers=table, message_id="o-1"))
    message = read_message(raw, b"")
    assert (message.key, message.headers, message.timestamp_ms) == (key, given_headers, timestamp_ms)


def _encoded(**properties):
    return pika.BasicProperties(**properties).encode()


def test_other_clients_messages_are_read():
    raw = b"".join(
        _encoded(
            content_type="text/plain",
            content_encoding="utf-8",
            headers={"text": "grün", "number": 7, "nothing": None, "x-death": "not a header of the record"},
            priority=3,
            correlation_id="c",
            reply_to="r",
            expiration="1000",
            message_id="not ours",
            timestamp=1_700_000_000,
            app_id="a",
        )
    )
    message = read_message(raw, b"body")
    assert message.key is None
    assert message.value == b"body"
    assert message.timestamp_ms == 1_700_000_000_000
    assert dict(message.headers) == {"text": "grün".encode(), "number": b"7", "nothing": None}
    assert message.message_id == "not ours"
    assert sequence_of(message.message_id) is None


def test_a_message_without_properties_is_read():
    message = read_message(b"\x00\x00", b"body")
    assert message == (None, b"body", 0, (), "", None, 0, None)


def test_every_type_of_an_amqp_table_is_read():
    table = {
        "t": True,
        "i": -5,
        "l": 2**40,
        "S": "text",
        "x": b"\xff",
        "V": None,
        "F": {"a": 1},
        "A": [1, "two"],
    }
    found, _, _ = read_properties(b"".join(_encoded(headers=table)))
    assert found == {**table, "S": b"text", "A": [1, b"two"]}


def test_a_table_of_no_known_type_is_an_error():
    with pytest.raises(ValueError, match="unknown type 'Z'"):
        read_properties(b"\x20\x00\x00\x00\x00\x03\x01aZ")


@pytest.mark.parametrize(
    ("message_id", "expected"),
    [("ab-1f", ("ab", 31)), ("a-b-0", ("a-b", 0)), ("", None), ("ab", None), ("ab-xyz", None)],
)
def test_ids_tell_origin_and_number(message_id, expected):
    assert sequence_of(message_id) == expected


def test_a_header_that_only_looks_like_ours_stops_nobody():
    raw = b"".join(_encoded(headers={"sp-headers": b"\xc1 no MessagePack"}))
    assert read_message(raw, b"").headers == (("sp-headers", b"\xc1 no MessagePack"),)
