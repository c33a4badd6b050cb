"""Deliveries: who serves their reports, when, and what callbacks may do."""

import gc
import logging
import threading

import pytest

from streamproof.core.partitioner import partition_for
from streamproof.deliveries import Delivery, Outcome
from streamproof.errors import TimedOut, UsageError
from streamproof.records import Outgoing, Receipt

BOUND_S = 30.0


def send(producer, topic, value=b"v", key=None):
    return producer.send(topic, value, key, (), None, None, BOUND_S)


def test_a_delivery_is_one_and_its_receipt_is_made_when_asked_for(place):
    topic = place.topic()
    delivery = send(place.producer(), topic)
    assert isinstance(delivery, Delivery)
    receipt = delivery.result(BOUND_S)
    assert receipt == Receipt(topic, 0, 0, receipt.timestamp_ms)
    assert delivery.receipt is delivery.receipt
    assert (delivery.outcome, delivery.error, delivery.is_settled) == (Outcome.ACKNOWLEDGED, None, True)


def test_the_collector_need_not_look_at_acknowledged_deliveries(place):
    topic = place.topic()
    producer = place.producer()
    deliveries = [send(producer, topic) for _ in range(10)]
    producer.flush(BOUND_S)
    assert not any(map(gc.is_tracked, deliveries))
    assert [delivery.result(0).offset for delivery in deliveries] == list(range(10))


def test_callbacks_come_without_anybody_calling(place):
    topic = place.topic()
    producer = place.producer()
    heard, came = [], threading.Event()

    def hear(delivery):
        heard.append(delivery.receipt.offset)
        if len(heard) == 3:
            came.set()

    for _ in range(3):
        send(producer, topic).add_done_callback(hear)
    assert came.wait(BOUND_S)
    assert sorted(heard) == [0, 1, 2]


def test_callbacks_come_again_after_the_producer_rested(place):
    topic = place.topic()
    producer = place.producer()
    for number in range(3):
        came = threading.Event()
        send(producer, topic).add_done_callback(lambda _, came=came: came.set())
        assert came.wait(BOUND_S), f"the callback of record {number}"
        place.wait_for(lambda: len(producer.native) == 0, "nothing to be pending")


def test_several_callbacks_run_once_each_also_when_they_come_late(place):
    topic = place.topic()
    delivery = send(place.producer(linger_ms=50.0), topic)
    heard = []
    for name in ("a", "b", "c"):
        delivery.add_done_callback(lambda _, name=name: heard.append(name))
    delivery.result(BOUND_S)
    place.wait_for(lambda: len(heard) == 3, "three callbacks")
    delivery.add_done_callback(lambda _: heard.append("late"))
    assert heard == ["a", "b", "c", "late"]


def test_a_callback_that_fails_is_logged_and_stops_no_other(place, caplog):
    topic = place.topic()
    producer = place.producer(linger_ms=50.0)
    heard = []
    deliveries = [send(producer, topic) for _ in range(2)]
    for delivery in deliveries:
        delivery.add_done_callback(lambda _: 1 / 0)
        delivery.add_done_callback(lambda _: heard.append(1))
    with caplog.at_level(logging.ERROR, "streamproof.kafka"):
        producer.flush(BOUND_S)
    assert heard == [1, 1]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2


def test_a_callback_may_send_but_not_wait(place):
    topic = place.topic()
    producer = place.producer(linger_ms=50.0)
    found = {}

    def act(delivery):
        found["own"] = delivery.result(0)
        found["next"] = send(producer, topic)
        for what in ("result", "flush", "close"):
            try:
                {"result": found["next"].result, "flush": producer.flush, "close": producer.close}[what](1.0)
            except UsageError:
                found[what] = True

    send(producer, topic).add_done_callback(act)
    place.wait_for(lambda: "close" in found, "the callback to end")
    assert (found["own"].offset, found["result"], found["flush"], found["close"]) == (0, True, True, True)
    assert found["next"].result(BOUND_S).offset == 1


def test_many_threads_send_and_wait_at_once(place):
    topic = place.topic(2)
    producer = place.producer()
    results, errors = [], []

    def work(index):
        try:
            for number in range(50):
                results.append(
                    send(producer, topic, b"%d-%d" % (index, number), b"%d" % index).result(BOUND_S)
                )
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert not errors
    assert len({(receipt.partition, receipt.offset) for receipt in results}) == 200


def test_a_key_lands_where_kafkas_partitioner_puts_it(place):
    topic = place.topic(5)
    producer = place.producer()
    keys = [b"", b"a", b"key-17", "Zürich".encode(), bytes(range(256))]
    receipts = producer.send_many(topic, [Outgoing(b"v", key=key) for key in keys], BOUND_S).result(BOUND_S)
    assert [receipt.partition for receipt in receipts] == [partition_for(key, 5) for key in keys]


def test_a_wait_that_is_too_short_leaves_the_send_under_way(place):
    topic = place.topic()
    producer = place.producer(linger_ms=500.0)
    delivery = send(producer, topic)
    with pytest.raises(TimedOut) as early:
        delivery.result(0.0)
    assert not early.value.definite
    assert delivery.result(BOUND_S).offset == 0


def test_a_closed_producer_leaves_no_thread(place):
    topic = place.topic()
    before = {thread.ident for thread in threading.enumerate()}
    producer = place.producer()
    consumer = place.consumer(topic, group=place.name("group"))
    pattern = place.consumer(pattern="no-such-topic-.*")
    send(producer, topic).result(BOUND_S)
    for part in (producer, consumer, pattern):
        part.close(BOUND_S)
    assert {thread.ident for thread in threading.enumerate()} <= before
    assert place.driver.native["producers"] == place.driver.native["consumers"] == []
