"""The short ways of ``send`` and ``send_many`` for records as they are, and what they must leave to the
long ones. The broker is the one inside of the client library."""

import threading

import pytest

from streamproof import Outgoing, Producer
from streamproof.deliveries import Outcome
from streamproof.drivers.kafka.options import client_settings, producer_settings
from streamproof.drivers.kafka_confluent.producer import ConfluentProducer
from streamproof.errors import BufferFull, Closed, RecordTooLarge, UsageError
from streamproof.options import ProducerOptions
from streamproof.url import parse_address

ADDRESS = parse_address("kafka://127.0.0.1:1")
BROKER = {"test.mock.num.brokers": 1, "allow.auto.create.topics": True, "message.max.bytes": 100_000}
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

    def send_many(self, topic, records, timeout_s):
        self.long.append(list(records))
        return super().send_many(topic, records, timeout_s)


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

    def send_many(self, *records):
        self.seen.append(records)
        return self.inner.send_many(*records)


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
    producer.send_many("topic", [Outgoing(b"abc", b"12")])
    assert driver.long[1] == [Outgoing(b"abc", b"21")]


def test_what_wraps_a_driver_sees_every_record(make):
    _, driver = make()
    wrapper = Wrapper(driver)
    producer = Producer(wrapper, None, None)
    producer.send("topic", b"v")
    producer.send_many("topic", [Outgoing(b"v")])
    assert len(wrapper.seen) == 2


def test_plain_batches_take_the_short_way(make):
    producer, driver = make()
    records = [Outgoing(b"0"), Outgoing(b"1", b"k"), Outgoing(None, b"k"), Outgoing(b"", b"")] * 600
    batch = producer.send_many("topic", records)
    receipts = batch.result(BOUND_S)
    assert driver.long == []
    assert (len(batch), len(receipts), batch.errors) == (2400, 2400, [])
    assert len({(receipt.partition, receipt.offset) for receipt in receipts}) == 2400
    assert len(producer.send_many("topic", [])) == 0


@pytest.mark.parametrize(
    "last",
    [
        Outgoing(b"v", headers=(("a", b"b"),)),
        Outgoing(b"v", partition=0),
        Outgoing(b"v", timestamp_ms=1000),
        Outgoing(bytearray(b"v")),
        Outgoing(b"v", key=bytearray(b"k")),
        (b"k", b"v"),
        b"v",
    ],
)
def test_batches_with_any_other_record_take_the_long_way(make, last):
    producer, driver = make()
    batch = producer.send_many("topic", [Outgoing(b"first"), last])
    assert [record.value for record in driver.long[0]] == [b"first", b"v"]
    assert len(batch.result(BOUND_S)) == 2
    generated = producer.send_many("topic", (Outgoing(b"%d" % number) for number in range(3)))
    assert len(generated.result(BOUND_S)) == 3


@pytest.mark.parametrize("wrong", [Outgoing("text"), Outgoing(b"v", key="text"), Outgoing(17), "text"])
def test_wrong_records_in_a_batch_get_one_clear_error(make, wrong):
    producer, driver = make()
    with pytest.raises(UsageError, match=r"is a (str|int), not bytes"):
        producer.send_many("topic", [Outgoing(b"v"), wrong])
    assert driver.long == []


@pytest.mark.parametrize("more", [{}, {"partition": 0}], ids=["short", "long"])
def test_what_the_library_refuses_fails_alone(make, more):
    producer, _ = make()
    records = [Outgoing(b"v", **more) for _ in range(1200)]
    records[0] = records[1100] = records[1199] = Outgoing(bytes(200_000), **more)
    batch = producer.send_many("topic", records)
    producer.flush(BOUND_S)
    failed = [number for number, delivery in enumerate(batch) if delivery.error is not None]
    assert failed == [0, 1100, 1199]
    assert [type(error) for error in batch.errors] == [RecordTooLarge] * 3


@pytest.mark.parametrize("more", [{}, {"partition": 0}], ids=["short", "long"])
def test_what_does_not_fit_into_the_buffer_is_told_record_by_record(make, more):
    producer, _ = make(buffer_records=10, linger_ms=BOUND_S * 1000)
    batch = producer.send_many("topic", [Outgoing(b"v", **more)] * 15, timeout_s=SOON_S)
    assert [type(delivery.error) for delivery in batch] == [type(None)] * 10 + [BufferFull] * 5
    assert len(batch.errors) == 5
    producer.flush(BOUND_S)
    assert batch.is_settled


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
    with pytest.raises(Closed, match="make a new one"):
        producer.send_many("topic", [Outgoing(b"v")])
    assert driver.long == []
