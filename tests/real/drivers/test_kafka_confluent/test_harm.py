"""Brokers that hang, die, come back, or were never there. Every wait ends, and nothing is claimed."""

import socket
import threading

import pytest

from streamproof.deliveries import Outcome
from streamproof.drivers.kafka_confluent import open_driver
from streamproof.errors import BufferFull, DeliveryUnknown, TimedOut, Unreachable
from streamproof.records import Outgoing
from streamproof.url import parse_address

BOUND_S = 30.0
SOON_S = 1.0


def send(producer, topic, value=b"v", timeout_s=BOUND_S):
    return producer.send(topic, value, None, (), 0, None, timeout_s)


def values(records):
    return [record.value for record in records]


@pytest.fixture
def black_hole():
    """An address that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"kafka://127.0.0.1:{server.getsockname()[1]}"


def test_nobody_there_is_unreachable(black_hole):
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = f"kafka://127.0.0.1:{server.getsockname()[1]}"
    before = threading.active_count()
    for url, reason in (
        (dead, "Connection refused"),
        (black_hole, "kafka://"),
        ("kafka://no-such.invalid", "resolve"),
    ):
        with pytest.raises(Unreachable, match=reason) as refused:
            open_driver(parse_address(url), SOON_S)
        assert url in str(refused.value)
        assert refused.value.retriable
    assert threading.active_count() == before


def test_a_broker_that_hangs(private):
    """One broker, one hang, for it takes long to start one."""
    server, place = private
    topic, group = place.topic(), place.name("group")
    [log] = place.logs(topic, 1)
    place.fill(topic, 2)
    patient = place.producer(buffer_records=5, delivery_timeout_s=60.0)
    hasty = place.producer(delivery_timeout_s=1.0)
    closing = place.producer()
    member = place.consumer(topic, group=group)
    leaving = place.consumer(topic, group=place.name("group"))
    place.join(leaving, logs=1)
    for producer in (hasty, closing):
        send(producer, topic, b"before").result(BOUND_S)
    assert len(place.read(member, 4)) == 4

    place.hang(server)
    try:
        unknown = send(hasty, topic, b"unknown")
        with pytest.raises(DeliveryUnknown) as told:
            unknown.result(BOUND_S)
        assert (told.value.definite, unknown.outcome) == (False, Outcome.UNKNOWN)

        with pytest.raises(TimedOut) as uncommitted:
            member.commit({log: 1}, SOON_S)
        assert not uncommitted.value.definite
        assert member.poll(10, 0.1) == []

        taken = [send(patient, topic, b"patient-%d" % number) for number in range(3)]
        many = patient.send_many(topic, [Outgoing(b"patient-%d" % number) for number in range(3, 10)], 0.2)
        assert [type(error) for error in many.errors] == [BufferFull] * 5
        assert [delivery.is_settled for delivery in many] == [False] * 2 + [True] * 5
        with pytest.raises(BufferFull):
            send(patient, topic, timeout_s=0.1)
        with pytest.raises(TimedOut):
            patient.flush(0.2)

        given_up = [send(closing, topic, b"given up") for _ in range(3)]
        closing.close(SOON_S)
        assert {delivery.outcome for delivery in given_up} == {Outcome.UNKNOWN}
        assert {type(delivery.error) for delivery in given_up} == {DeliveryUnknown}
        leaving.close(SOON_S)
        assert leaving.assignment() == ()
    finally:
        server.resume()

    assert [delivery.result(BOUND_S).topic for delivery in [*taken, *many[:2]]] == [topic] * 5
    reader = place.consumer(topic)
    end = reader.watermarks([log], BOUND_S)[log].end
    stored = values(place.read(reader, end))
    assert [value for value in stored if value.startswith(b"patient")] == [
        b"patient-%d" % number for number in range(5)
    ]
    place.wait_for(
        lambda: member.committed([log], BOUND_S)[log] == 1,
        "a commit to be taken",
        lambda: commit_again(member, log),
    )


def commit_again(member, log):
    member.poll(1, 0.1)
    if log in member.assignment():
        member.commit({log: 1}, BOUND_S)


def test_a_broker_that_dies_and_comes_back(private):
    server, place = private
    topic = place.topic()
    producer = place.producer()
    reader = place.consumer(topic)
    before = [send(producer, topic, b"%d" % number) for number in range(20)]
    producer.flush(BOUND_S)
    got = values(place.read(reader, 10))

    server.kill()
    during = [send(producer, topic, b"%d" % number) for number in range(20, 40)]
    got += values(reader.poll(100, 0.2))
    with pytest.raises(Unreachable):
        open_driver(parse_address(place.url), SOON_S)
    server.restart()

    offsets = [delivery.result(BOUND_S).offset for delivery in [*before, *during]]
    assert offsets == list(range(40))
    got += values(place.read(reader, 40 - len(got)))
    assert got == [b"%d" % number for number in range(40)]


def test_a_dead_broker_does_not_hold_up_a_close(private):
    server, place = private
    topic, group = place.topic(), place.name("group")
    before = {thread.ident for thread in threading.enumerate()}
    producer, member = place.producer(), place.consumer(topic, group=group)
    place.join(member, logs=1)
    revoked = []
    member._listener.during_revoke = lambda gone: revoked.extend(gone)
    server.kill()
    pending = send(producer, topic)
    member.close(SOON_S)
    producer.close(SOON_S)
    assert revoked == list(place.logs(topic, 1))
    assert pending.outcome is Outcome.UNKNOWN
    place.wait_for(
        lambda: {thread.ident for thread in threading.enumerate()} <= before, "the clients' threads to end"
    )


def test_where_to_begin_is_decided_later_when_nobody_tells(place, ear, monkeypatch):
    topic, group = place.topic(), place.name("group")
    place.fill(topic, 3)
    member = place.consumer(topic, group=group, ear=ear)
    answers = iter([Unreachable("nobody tells")])
    real = member._starts_of

    def starts_of(partitions, timeout_s):
        for error in answers:
            raise error
        return real(partitions, timeout_s)

    monkeypatch.setattr(member, "_starts_of", starts_of)
    assert values(place.read(member, 3)) == [b"0", b"1", b"2"]
    assert ear.positions == {}
