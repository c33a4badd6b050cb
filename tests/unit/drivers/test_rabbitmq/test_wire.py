"""Frames as bytes: whatever the pieces they come in, each goes to whom it is for, in order."""

from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from streamproof.drivers.rabbitmq.wire import (
    HEARTBEAT,
    FrameScanner,
    ack_method,
    close_reason,
    content_frames,
    largest_properties,
    publish_method,
)

PROPERTIES = b"\x10\x00\x02"
"""Delivery mode 2, nothing else."""


def decoded(data):
    """Frames as pika reads them."""
    found = []
    while data:
        size, one = frame.decode_frame(data)
        assert size
        found.append(one)
        data = data[size:]
    return found


@given(st.binary(max_size=300), st.integers(20, 200))
def test_pika_reads_what_is_published(body, frame_max):
    method = publish_method(3, "exchange", "7")
    frames = decoded(content_frames(method, 3, PROPERTIES, body, frame_max))
    assert isinstance(frames[0].method, spec.Basic.Publish)
    assert (frames[0].method.exchange, frames[0].method.routing_key) == ("exchange", "7")
    assert frames[0].method.mandatory
    assert frames[1].body_size == len(body)
    assert frames[1].properties.delivery_mode == 2
    assert b"".join(one.fragment for one in frames[2:]) == body
    assert all(len(one.fragment) <= frame_max - 8 for one in frames[2:])
    assert {one.channel_number for one in frames} == {3}


def test_pika_reads_acks():
    (one,) = decoded(ack_method(5, 2**40, True))
    assert isinstance(one.method, spec.Basic.Ack)
    assert (one.method.delivery_tag, one.method.multiple, one.channel_number) == (2**40, True, 5)


def test_the_largest_properties_fill_a_frame():
    properties = bytes(largest_properties(4096))
    header = content_frames(b"", 1, properties, b"", 4096)
    assert len(header) == 4096


def delivery(channel, tag, body, redelivered=False, pieces=1):
    """Frames of a delivery, the body in so many."""
    method = spec.Basic.Deliver("ctag", tag, redelivered, "exchange", "key")
    out = frame.Method(channel, method).marshal()
    out += content_frames(b"", channel, PROPERTIES, body, max(1, len(body) // pieces) + 8)
    return out


class Taken:
    def __init__(self):
        self.heard = []
        self.scanner = FrameScanner(lambda data: self.heard.append(("rest", data)))

    def listen(self, channel):
        self.scanner.deliveries[channel] = lambda tag, redelivered, properties, body: self.heard.append(
            ("delivery", channel, tag, redelivered, properties, body)
        )
        self.scanner.confirms[channel] = lambda tag, multiple, is_ack: self.heard.append(
            ("confirm", channel, tag, multiple, is_ack)
        )


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.binary(max_size=40), st.booleans(), st.integers(1, 3)), max_size=6
    ),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_deliveries_are_whole_whatever_pieces_they_come_in(messages, cuts):
    taken = Taken()
    taken.listen(1)
    taken.listen(2)
    data = b""
    expected = []
    for tag, (channel, body, redelivered, pieces) in enumerate(messages, start=1):
        data += delivery(channel, tag, body, redelivered, pieces) + HEARTBEAT
        if channel in (1, 2):
            expected.append(("delivery", channel, tag, redelivered, PROPERTIES, body))
        expected.append(("rest", HEARTBEAT))
    at = turn = 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        taken.scanner.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert taken.heard == expected


def test_confirms_are_taken_and_other_methods_left():
    taken = Taken()
    taken.listen(1)
    ack = frame.Method(1, spec.Basic.Ack(7, True)).marshal()
    nack = frame.Method(1, spec.Basic.Nack(8, False)).marshal()
    close = frame.Method(1, spec.Channel.Close(404, "NOT_FOUND", 60, 40)).marshal()
    elsewhere = frame.Method(9, spec.Basic.Ack(1, False)).marshal()
    taken.scanner.feed(ack + nack + close + elsewhere)
    assert taken.heard == [
        ("confirm", 1, 7, True, True),
        ("confirm", 1, 8, False, False),
        ("rest", close),
    ]
    assert taken.scanner.bytes_taken == len(ack + nack + elsewhere)


def test_a_message_that_came_back_is_told_before_its_confirm():
    taken = Taken()
    taken.listen(1)
    taken.scanner.returns[1] = lambda properties: taken.heard.append(("return", properties))
    back = frame.Method(1, spec.Basic.Return(312, "NO_ROUTE", "exchange", "key")).marshal()
    back += content_frames(b"", 1, PROPERTIES, b"body", 12)
    taken.scanner.feed(back + frame.Method(1, spec.Basic.Ack(7, False)).marshal())
    assert taken.heard == [("return", PROPERTIES), ("confirm", 1, 7, False, True)]


def test_the_servers_close_of_a_channel_is_told_before_it_is_handed_on():
    taken = Taken()
    taken.scanner.closes[1] = lambda: taken.heard.append(("close", 1))
    closes = [
        frame.Method(channel, spec.Channel.Close(404, "NOT_FOUND", 60, 40)).marshal() for channel in (2, 1)
    ]
    taken.scanner.feed(b"".join(closes))
    assert taken.heard == [("rest", closes[0]), ("close", 1), ("rest", closes[1])]


def test_muted_it_tells_nobody_and_goes_on():
    taken = Taken()
    taken.listen(1)
    data = delivery(1, 1, b"late")
    taken.scanner.feed(data[:40])
    taken.scanner.mute()
    taken.scanner.feed(data[40:] + frame.Method(1, spec.Basic.Ack(7, True)).marshal() + HEARTBEAT)
    assert taken.heard == [("rest", HEARTBEAT)]


def test_interleaved_channels_do_not_mix():
    taken = Taken()
    taken.listen(1)
    taken.listen(2)
    one, two = delivery(1, 1, b"first"), delivery(2, 9, b"second")
    method_one = len(frame.Method(1, spec.Basic.Deliver("ctag", 1, False, "exchange", "key")).marshal())
    taken.scanner.feed(one[:method_one] + two + one[method_one:])
    assert [(entry[1], entry[5]) for entry in taken.heard] == [(2, b"second"), (1, b"first")]


def test_a_channel_that_stops_listening_gets_no_more_but_spoils_nothing():
    taken = Taken()
    taken.listen(1)
    data = delivery(1, 1, b"late")
    taken.scanner.feed(data[:40])
    del taken.scanner.deliveries[1]
    taken.scanner.feed(data[40:] + HEARTBEAT)
    assert taken.heard == [("rest", HEARTBEAT)]


def test_a_refusal_of_the_protocol_is_handed_on():
    taken = Taken()
    taken.scanner.feed(b"AMQP\x00\x00\x09\x01")
    assert taken.heard == [("rest", b"AMQP\x00\x00\x09\x01")]


def test_the_servers_reason_to_close_is_read():
    close = spec.Connection.Close(530, "NOT_ALLOWED - vhost grün not found", 10, 40)
    assert close_reason(frame.Method(0, close).marshal()) == (530, "NOT_ALLOWED - vhost grün not found")
    assert close_reason(frame.Method(1, spec.Channel.Close(404, "NOT_FOUND", 60, 40)).marshal()) is None
    assert close_reason(HEARTBEAT) is None
