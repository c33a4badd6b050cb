"""What became of a send: the rows of the error table that a broker can be brought to answer."""

import pytest

from streamproof.deliveries import Delivery, Outcome
from streamproof.drivers.kafka_confluent.client import KafkaException
from streamproof.errors import (
    BackendError,
    Closed,
    ConfigurationError,
    RecordTooLarge,
    TimedOut,
    TopicExists,
    UnknownTopic,
    Unsupported,
)
from streamproof.records import Outgoing, TopicPartition, TopicSpec

BOUND_S = 30.0


def native_code(error):
    assert isinstance(error.__cause__, KafkaException)
    return error.__cause__.args[0].code()


def sent(producer, topic, value=b"v", key=None, partition=None, timestamp_ms=None):
    delivery = producer.send(topic, value, key, (), partition, timestamp_ms, BOUND_S)
    with pytest.raises((BackendError, Unsupported)):
        delivery.result(BOUND_S)
    return delivery


def set_on(place, topic, **settings):
    """Settings that the seam has no word for."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entries = [
        ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    for future in place.driver.native["admin"].incremental_alter_configs([resource]).values():
        future.result(BOUND_S)


def test_a_record_above_the_topics_limit_certainly_failed(place):
    topic = place.topic()
    producer = place.producer()
    delivery = sent(producer, topic, bytes(2_000_000))
    assert isinstance(delivery.error, RecordTooLarge)
    assert (delivery.outcome, native_code(delivery.error)) == (Outcome.FAILED, 10)
    assert producer.send(topic, b"small", None, (), None, None, BOUND_S).result(BOUND_S).offset == 0


def test_a_record_above_the_segments_size_certainly_failed(place):
    topic = place.topic()
    set_on(place, topic, segment_bytes=1_048_576, max_message_bytes=8_000_000)
    delivery = sent(place.producer(), topic, bytes(2_000_000))
    assert isinstance(delivery.error, RecordTooLarge)
    assert (delivery.outcome, native_code(delivery.error)) == (Outcome.FAILED, 18)


def test_a_record_without_a_key_certainly_failed_in_a_compacted_topic(place):
    topic = place.topic(is_compacted=True)
    producer = place.producer()
    delivery = sent(producer, topic)
    assert (delivery.outcome, native_code(delivery.error)) == (Outcome.FAILED, 87)
    assert producer.send(topic, b"v", b"k", (), None, None, BOUND_S).result(BOUND_S).offset == 0


def test_a_time_that_the_topic_does_not_accept_certainly_failed(place):
    topic = place.topic()
    set_on(place, topic, message_timestamp_before_max_ms=1000)
    delivery = sent(place.producer(), topic, timestamp_ms=1)
    assert (delivery.outcome, native_code(delivery.error)) == (Outcome.FAILED, 32)


def test_an_unknown_topic_certainly_failed_and_is_not_made_by_asking(place):
    name = place.name()
    producer = place.producer()
    for _ in range(2):
        delivery = sent(producer, name)
        assert isinstance(delivery.error, UnknownTopic)
        assert delivery.outcome is Outcome.FAILED
    assert name not in place.admin.list_topics(BOUND_S)
    place.admin.create_topics([TopicSpec(name)], BOUND_S)
    # What the client remembers of the topic is minutes old by its own reckoning.
    assert producer.send(name, b"v", None, (), None, None, BOUND_S).result(BOUND_S).offset == 0


@pytest.mark.parametrize("partition", [1, 99, -1])
@pytest.mark.parametrize("is_warm", [True, False])
def test_an_unknown_partition_certainly_failed(place, partition, is_warm):
    topic = place.topic()
    producer = place.producer()
    if is_warm:
        producer.send(topic, b"v", None, (), 0, None, BOUND_S).result(BOUND_S)
    delivery = sent(producer, topic, partition=partition)
    assert isinstance(delivery.error, UnknownTopic)
    assert delivery.outcome is Outcome.FAILED


def test_an_invalid_name_certainly_failed(place):
    delivery = sent(place.producer(), "no such name!")
    assert isinstance(delivery.error, UnknownTopic)
    # The broker's word for it, or the client's, which may have heard of it before.
    assert (delivery.outcome, native_code(delivery.error) in (17, -188)) == (Outcome.FAILED, True)


def test_timestamp_0_is_refused_not_replaced(place):
    topic = place.topic()
    delivery = sent(place.producer(), topic, timestamp_ms=0)
    assert isinstance(delivery.error, Unsupported)
    assert delivery.outcome is Outcome.FAILED


def test_what_a_batch_cannot_send_does_not_stop_the_rest(place):
    topic = place.topic(2)
    records = [
        Outgoing(b"0", partition=0),
        Outgoing(b"1", partition=7),
        Outgoing(b"2", partition=1, headers=(("h", b"x"),)),
        Outgoing(bytes(2_000_000), partition=0),
        Outgoing(b"4", partition=0, timestamp_ms=5),
    ]
    deliveries = place.producer().send_many(topic, records, BOUND_S)
    assert all(isinstance(delivery, Delivery) for delivery in deliveries)
    place.wait_for(lambda: deliveries.is_settled, "five outcomes")
    outcomes = [delivery.outcome for delivery in deliveries]
    assert [outcome is Outcome.ACKNOWLEDGED for outcome in outcomes] == [True, False, True, False, True]
    assert [type(error) for error in deliveries.errors] == [UnknownTopic, RecordTooLarge]
    reader = place.consumer(topic)
    found = {record.value: record for record in place.read(reader, 3)}
    assert found[b"2"].headers == (("h", b"x"),)
    assert found[b"4"].timestamp_ms == 5


def test_a_closed_producer_settles_what_it_is_given(place):
    topic = place.topic()
    producer = place.producer()
    producer.close(BOUND_S)
    one = producer.send(topic, b"v", None, (), None, None, 1.0)
    many = producer.send_many(topic, [Outgoing(b"v"), Outgoing(b"w", partition=0)], 1.0)
    assert all(isinstance(delivery.error, Closed) for delivery in [one, *many])


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (TopicSpec("", partitions=0), 37),
        (TopicSpec("", replication=5), 38),
        (TopicSpec("", retention_ms=-5), 40),
    ],
)
def test_topics_that_cannot_be_are_refused(place, spec, code):
    name = place.name()
    wanted = TopicSpec(name, spec.partitions, spec.replication, spec.retention_ms)
    with pytest.raises(ConfigurationError) as refused:
        place.admin.create_topics([wanted], BOUND_S)
    assert native_code(refused.value) == code
    assert name not in place.admin.list_topics(BOUND_S)


def test_of_several_topics_those_before_the_one_that_is_there_stay(place):
    names = [place.name() for _ in range(2)]
    there = place.topic()
    with pytest.raises(TopicExists, match=there):
        place.admin.create_topics([TopicSpec(names[0]), TopicSpec(there), TopicSpec(names[1])], BOUND_S)
    listed = place.admin.list_topics(BOUND_S)
    assert (names[0] in listed, names[1] in listed) == (True, False)


def test_a_trimmed_log_says_where_it_begins(place):
    topic = place.topic()
    place.fill(topic, 10)
    log = TopicPartition(topic, 0)
    place.admin.delete_records({log: 4}, BOUND_S)
    reader = place.consumer(topic)
    assert reader.watermarks([log], BOUND_S)[log].begin == 4
    assert place.read(reader, 6)[0].offset == 4


def test_a_call_without_an_answer_is_bounded(private):
    server, place = private
    place.hang(server)
    try:
        with pytest.raises(TimedOut):
            place.admin.list_topics(1.0)
    finally:
        server.resume()
