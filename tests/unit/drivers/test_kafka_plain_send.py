"""The short way of ``send`` for records as they are, and what it must leave to the long one. The
broker is the one inside of the client library."""

import threading

import pytest

from streamproof import Producer
from streamproof.deliveries import Outcome
from streamproof.drivers.kafka.options import client_settings, producer_settings
from streamproof.drivers.kafka_confluent.producer import ConfluentProducer
from streamproof.errors import BufferFull, Closed, UsageError
from streamproof.options import ProducerOptions
from streamproof.url import parse_address

ADDRESS = parse_address("kafka://127.0.0.1:1")
BROKER = {"test.mock.num.brokers": 1, "allow.auto.create.topics": True}
SOON_S = 0.2
BOUND_S = 30.0


class Heard(ConfluentProducer):
    """Notes what comes to it on the long way."""

    def __init__(self, **options):
        chosen = ProducerOptions(**options)
        settings = producer_settings(client_settings(ADDRESS), chosen)
        super().__init__({**settings, **BROKER}, chosen, lambda _: None)
        self.long = []

    def send(self, *record):
        self.long.append(record[:6])
        return super().send(*record)


class Wrapper:
    """As broken drivers of tests are: it passes on whatever it does not know."""

    def __init__(self, inner):
        self.inner = inner
        self.seen = []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def send(self, *record):
        self.seen.append(record)
        return self.inner.send(*record)


@pytest.fixture
def make():
    made = []

    def producer(encode_key=None, encode_value=None, **options):
        driver = Heard(**options)
        made.append(Producer(driver, encode_key, encode_value))
        return made[-1], driver

    yield producer
    for one in made:
        one.close(BOUND_S)


@pytest.mark.parametrize(("value", "key"), [(b"v", None), (b"v", b"k"), (None, b"k"), (b"", b"")])
def test_a_plain_record_takes_the_short_way(make, value, key):
    producer, driver = make()
    delivery = producer.send("topic", value, key=key)
    assert delivery.result(BOUND_S).topic == "topic"
    assert driver.long == []


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"a": "b"}},
        {"partition": 3},
        {"timestamp_ms": 1000},
        {"timeout_s": 1.0},
        {"value": bytearray(b"v")},
        {"key": memoryview(b"k")},
    ],
    ids=lambda more: next(iter(more)),
)
def test_all_other_records_take_the_long_one(make, more):
    producer, driver = make()
    record = {"value": b"v", "key": b"k", **more}
    producer.send("topic", **record)
    (given,) = driver.long
    headers = (("a", b"b"),) if "headers" in more else ()
    assert given == ("topic", b"v", b"k", headers, more.get("partition"), more.get("timestamp_ms"))


def test_serialisers_are_never_passed_by(make):
    producer, driver = make(encode_value=lambda value: value[::-1])
    producer.send("topic", b"abc")
    assert driver.long[0][1] == b"cba"
    producer, driver = make(encode_key=lambda key: key[::-1])
    producer.send("topic", b"abc", key=b"12")
    assert driver.long[0][2] == b"21"


def test_what_wraps_a_driver_sees_every_record(make):
    _, driver = make()
    wrapper = Wrapper(driver)
    Producer(wrapper, None, None).send("topic", b"v")
    assert len(wrapper.seen) == 1


@pytest.mark.parametrize(
    ("arguments", "named", "words"),
    [
        (("topic", "text"), {}, "the value is a str"),
        (("topic", b"v"), {"key": "text"}, "the key is a str"),
        (("topic", 17), {}, "the value is a int"),
        ((17, b"v"), {}, "named by a str"),
        (("", b"v"), {}, "'' is no topic name"),
        (("no\0topic", b"v"), {}, "is no topic name"),
        (("topic", b"v"), {"partition": -1}, "partition=-1"),
    ],
)
def test_wrong_records_get_one_clear_error(make, arguments, named, words):
    producer, _ = make()
    with pytest.raises(UsageError, match=words):
        producer.send(*arguments, **named)


def test_unknown_arguments_are_refused_as_ever(make):
    producer, _ = make()
    with pytest.raises(TypeError, match="sideways"):
        producer.send("topic", b"v", sideways=True)


def test_a_full_buffer_is_waited_for_on_the_long_way(make):
    producer, driver = make(buffer_records=1, linger_ms=BOUND_S * 1000)
    first = producer.send("topic", b"v")
    with pytest.raises(BufferFull, match="stayed full"):
        producer.send("topic", b"v", timeout_s=SOON_S)
    assert not first.is_settled
    driver.long.clear()
    threading.Timer(SOON_S, producer.flush).start()
    second = producer.send("topic", b"v")
    assert driver.long == [("topic", b"v", None, (), None, None)]
    producer.flush(BOUND_S)
    assert (first.outcome, second.outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)


def test_a_closed_producer_refuses_also_on_a_way_that_was_known_before(make):
    producer, driver = make()
    known = producer.send
    delivery = known("topic", b"v")
    producer.close(BOUND_S)
    assert delivery.outcome is Outcome.ACKNOWLEDGED
    for send in (known, producer.send):
        with pytest.raises(Closed, match="make a new one"):
            send("topic", b"v")
    assert driver.long == []
