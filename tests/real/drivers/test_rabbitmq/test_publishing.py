"""What becomes of a publish on a real server."""

import threading

import pika
import pytest

import streamproof
from streamproof import Outcome
from streamproof.drivers.rabbitmq.topology import exchange_of, stream_of
from tests.real.drivers.test_rabbitmq.conftest import read_all, wait_until


def definition(bus, name):
    """How the topic is defined; the names of its queues come from that."""
    bus.admin().describe_topic(name)
    driver = bus._driver
    return driver._driver._definitions.catalogue.topic(driver._prefix.on(name))


def test_a_topic_deleted_under_a_producer_fails_its_records_and_no_others(bus, rabbitmq_url, namespace):
    bus.admin().create_topic("gone")
    bus.admin().create_topic("there")
    producer = bus.producer()
    stop = threading.Event()
    deliveries = {"gone": [], "there": []}

    def send():
        while not stop.is_set():
            for topic, mine in deliveries.items():
                mine.append(producer.send(topic, b"%d" % len(mine)))
            # Few in flight: what is on its way for long meets no exchange any more.
            wait_until(lambda: all(mine[-1].is_settled for mine in deliveries.values()), "they end")

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    wait_until(lambda: len(deliveries["gone"]) > 200, "records flow")
    with streamproof.connect(rabbitmq_url, namespace=namespace) as other:
        other.admin().delete_topics("gone")
    wait_until(lambda: deliveries["gone"][-1].outcome is Outcome.FAILED, "records fail")
    stop.set()
    sender.join(20)
    producer.flush(20)
    assert {delivery.outcome for delivery in deliveries["there"]} == {Outcome.ACKNOWLEDGED}
    errors = {type(delivery.error) for delivery in deliveries["gone"] if delivery.error is not None}
    assert errors == {streamproof.UnknownTopic}
    outcomes = [delivery.outcome for delivery in deliveries["gone"]]
    assert outcomes == sorted(outcomes, key=[Outcome.ACKNOWLEDGED, Outcome.FAILED].index)


def test_an_exchange_that_vanished_costs_what_is_in_flight_and_no_more(bus, rabbitmq_url):
    """Somebody deleted it by hand: RabbitMQ closes the channel over the publish."""
    bus.admin().create_topic("broken")
    bus.admin().create_topic("well")
    producer = bus.producer()
    producer.send("broken", b"0").result(10)
    found = definition(bus, "broken")
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        connection.channel().exchange_delete(exchange_of(found.name, found.id))
    with pytest.raises(streamproof.DeliveryUnknown, match="404"):
        producer.send("broken", b"1").result(10)
    assert producer.send("well", b"2").result(10).topic == "well"


def test_what_other_clients_publish_is_read(bus, rabbitmq_url):
    bus.admin().create_topic("t", 2)
    found = definition(bus, "t")
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        properties = pika.BasicProperties(headers={"colour": "blue", "size": 7}, timestamp=1_700_000_000)
        connection.channel().basic_publish(exchange_of(found.name, found.id), "1", b"from pika", properties)
    with bus.consumer("t") as reader, bus.consumer("t", group="g") as member:
        for consumer in (reader, member):
            (record,) = read_all(consumer, 1)
            assert (record.partition, record.key, record.value) == (1, None, b"from pika")
            assert record.timestamp_ms == 1_700_000_000_000
            assert record.header("colour") == b"blue"
            assert record.header("size") == b"7"


def test_what_we_publish_is_read_by_other_clients(bus, rabbitmq_url):
    bus.admin().create_topic("t")
    bus.producer().send(
        "t", b"value", key=b"key", headers={"h": b"1"}, timestamp_ms=1_700_000_000_123
    ).result(10)
    found = definition(bus, "t")
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        places = {"x-stream-offset": 1}
        for _, properties, body in channel.consume(stream_of(found.name, found.id, 0), arguments=places):
            assert body == b"value"
            assert properties.headers["sp-key"] == b"key"
            assert properties.headers["timestamp_in_ms"] == 1_700_000_000_123
            assert properties.timestamp == 1_700_000_000
            assert properties.delivery_mode == 2
            break


def test_keys_and_headers_that_fit_no_frame_are_refused_alone(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    large = producer.send("t", b"", key=bytes(131_000))
    with pytest.raises(streamproof.RecordTooLarge):
        large.result(10)
    headers = producer.send("t", b"", headers=[(f"h{number}", bytes(1000)) for number in range(140)])
    with pytest.raises(streamproof.RecordTooLarge):
        headers.result(10)
    fits = producer.send("t", bytes(1_000_000), key=bytes(120_000), headers={"h": bytes(10_000)})
    assert fits.result(10) is not None
    with bus.consumer("t") as reader:
        (record,) = read_all(reader, 1)
        assert (len(record.key), len(record.value), len(record.header("h"))) == (120_000, 1_000_000, 10_000)


def test_a_record_above_the_servers_limit_costs_its_channel_but_the_producer_lives(
    bus, rabbitmq_url, namespace
):
    """max_message_bytes was set too high: the server closes the channel, and the producer goes on."""
    joint = "&" if "?" in rabbitmq_url else "?"
    bus.admin().create_topic("t")
    with streamproof.connect(
        f"{rabbitmq_url}{joint}max_message_bytes=999999999", namespace=namespace
    ) as loose:
        producer = loose.producer()
        with pytest.raises(streamproof.DeliveryUnknown, match=r"message size|lost"):
            producer.send("t", bytes(135_000_000)).result(60)
        assert producer.send("t", b"small").result(20) is not None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"transactional_id": "x"}, "transactions"),
        ({"compression": "gzip"}, "compress"),
    ],
)
def test_what_rabbitmq_cannot_do_is_refused(bus, options, complaint):
    with pytest.raises(streamproof.Unsupported, match=complaint):
        bus.producer(**options)


def test_wrong_credentials_and_hosts_are_told_apart(rabbitmq_url):
    address = rabbitmq_url.partition("@")[2]
    with pytest.raises(streamproof.AccessDenied, match="password") as caught:
        streamproof.connect(f"amqp://guest:wrong@{address}")
    assert "wrong" not in str(caught.value)
    host = address.partition("/")[0]
    with pytest.raises(streamproof.AccessDenied, match="virtual host"):
        streamproof.connect(f"amqp://guest:guest@{host}/no-such-vhost")
    with pytest.raises(streamproof.Unreachable, match="is it running"):
        streamproof.connect("amqp://127.0.0.1:1/")


def test_several_hosts_are_tried_in_turn(rabbitmq_url):
    credentials, _, address = rabbitmq_url.partition("@")
    with streamproof.connect(f"{credentials}@127.0.0.1:1,{address}") as bus:
        assert bus.admin().list_topics() is not None
