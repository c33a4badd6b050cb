"""A lost connection: what was unconfirmed is unknown and never sent again, reading goes on, groups
lose and get their logs, and everybody comes back."""

import contextlib
import threading

import pytest

import streamproof
from streamproof import Outcome
from tests.real.drivers.test_rabbitmq.conftest import Proxy, read_all, wait_until


class Listener(streamproof.ConsumerObserver):
    """Remembers what it was told."""

    def __init__(self):
        self.heard = []

    def assigned(self, generation, partitions, positions):
        self.heard.append(("assigned", generation, sorted(partitions)))

    def revoked(self, generation, partitions):
        self.heard.append(("revoked", generation, sorted(partitions)))

    def lost(self, generation, partitions):
        self.heard.append(("lost", generation, sorted(partitions)))


def is_acknowledged(delivery: streamproof.Delivery) -> bool:
    with contextlib.suppress(streamproof.DeliveryUnknown):
        delivery.result(20)
    return delivery.outcome is Outcome.ACKNOWLEDGED


def test_a_cut_connection_makes_what_was_unconfirmed_unknown_and_sends_nothing_twice(
    bus, proxied_url, proxy: Proxy, namespace
):
    bus.admin().create_topic("t", 2)
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        producer = cut_bus.producer(delivery_timeout_s=20)
        deliveries = []
        for round_number in range(5):
            deliveries += [
                producer.send("t", b"%d-%d" % (round_number, i), partition=i % 2) for i in range(500)
            ]
            wait_until(lambda some=deliveries[-400]: some.is_settled, "some are confirmed")
            proxy.cut()
        wait_until(lambda: all(delivery.is_settled for delivery in deliveries), "all are settled")
        # The last cut may still have to be noticed.
        wait_until(lambda: is_acknowledged(producer.send("t", b"after")), "it sends again")
        producer.flush(20)
    sent = {b"%d-%d" % (number // 500, number % 500): delivery for number, delivery in enumerate(deliveries)}
    outcomes = {delivery.outcome for delivery in deliveries}
    assert outcomes <= {Outcome.ACKNOWLEDGED, Outcome.UNKNOWN}
    acknowledged = {value for value, delivery in sent.items() if delivery.outcome is Outcome.ACKNOWLEDGED}
    with bus.consumer("t") as reader:
        ends = sum(lag for lag in reader.lag().values())
        values = [record.value for record in read_all(reader, ends)]
    values = [value for value in values if value != b"after"]
    assert len(values) == len(set(values))
    assert acknowledged <= set(values)


def test_records_that_wait_for_a_connection_are_sent_when_it_is_back(
    bus, proxied_url, proxy: Proxy, namespace
):
    bus.admin().create_topic("t")
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        producer = cut_bus.producer(delivery_timeout_s=20)
        producer.send("t", b"0").result(10)
        proxy.is_stopped = True
        proxy.cut()
        wait_until(lambda: producer._driver._driver._sending.link.connection is None, "the loss is noticed")
        deliveries = [producer.send("t", b"%d" % number) for number in range(1, 100)]
        assert not any(delivery.is_settled for delivery in deliveries)
        proxy.is_stopped = False
        producer.flush(20)
        assert {delivery.outcome for delivery in deliveries} == {Outcome.ACKNOWLEDGED}
    with bus.consumer("t") as reader:
        assert [record.value for record in read_all(reader, 100)] == [b"%d" % number for number in range(100)]


def test_a_delivery_ends_in_time_without_a_connection(bus, proxied_url, proxy: Proxy, namespace):
    bus.admin().create_topic("t")
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        producer = cut_bus.producer(delivery_timeout_s=1)
        producer.send("t", b"0").result(10)
        proxy.is_stopped = True
        in_flight = producer.send("t", b"1")
        with pytest.raises(streamproof.DeliveryUnknown):
            in_flight.result(10)
        proxy.cut()
        wait_until(lambda: producer._driver._driver._sending.link.connection is None, "the loss is noticed")
        queued = producer.send("t", b"2")
        with pytest.raises(streamproof.TimedOut) as caught:
            queued.result(10)
        assert caught.value.definite
        assert queued.outcome is Outcome.FAILED
        proxy.is_stopped = False


def test_a_reader_goes_on_where_it_was(bus, proxied_url, proxy: Proxy, namespace):
    bus.admin().create_topic("t", 3)
    producer = bus.producer()
    producer.send_many("t", [b"%d" % number for number in range(3000)]).result(20)
    seen: dict[int, list[int]] = {}
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        reader = cut_bus.consumer("t", prefetch=100)
        count = 0
        while count < 3000:
            for record in reader.poll(100, 10):
                seen.setdefault(record.partition, []).append(record.offset)
                count += 1
                if count % 700 == 0:
                    proxy.cut()
    assert {partition: offsets == list(range(1000)) for partition, offsets in seen.items()} == {
        0: True,
        1: True,
        2: True,
    }


def test_a_member_loses_its_logs_gets_them_back_and_everything_unacknowledged_in_order(
    bus, proxied_url, proxy: Proxy, namespace
):
    bus.admin().create_topic("t")
    listener = Listener()
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        member = cut_bus.consumer("t", group="g", observer=listener, session_timeout_s=3, prefetch=20)
        member.wait_assigned()
        bus.producer().send_many("t", [b"%d" % number for number in range(20)]).result(10)
        first = read_all(member, 20, acks=False)
        member.ack(first[:5])
        member.ack(first[7])
        # With a prefetch of 20, six more come only when all six acks have arrived.
        bus.producer().send_many("t", [b"%d" % number for number in range(20, 26)]).result(10)
        read_all(member, 6, acks=False)
        proxy.cut()
        again = read_all(member, 20)
        with pytest.raises(streamproof.NotAssigned):
            member._driver._driver.ack(first[-1:])
        assert [what for what, _, _ in listener.heard] == ["assigned", "lost", "assigned"]
        generations = [generation for what, generation, _ in listener.heard if what == "assigned"]
        assert generations[1] > generations[0]
        assert [record.value for record in again] == [
            b"5",
            b"6",
            *(b"%d" % number for number in range(8, 26)),
        ]
        assert all(record.is_redelivered for record in again)
        assert {record.attempt for record in again} == {2}
        assert member.poll(10, 0.2) == []


def test_a_long_outage_costs_a_group_nothing(bus, proxied_url, proxy: Proxy, namespace):
    bus.admin().create_topic("t", 4)
    got: list[bytes] = []
    stop = threading.Event()
    with streamproof.connect(proxied_url, namespace=namespace) as cut_bus:
        members = [cut_bus.consumer("t", group="g", session_timeout_s=2) for _ in range(2)]

        def work(member):
            while not stop.is_set():
                for record in member.poll(100, 0.2):
                    got.append(record.value)
                    member.ack(record)

        threads = [threading.Thread(target=work, args=(member,), daemon=True) for member in members]
        for thread in threads:
            thread.start()
        producer = bus.producer()
        for number in range(400):
            producer.send("t", b"%d" % number, key=b"%d" % number)
            if number % 100 == 50:
                proxy.is_stopped = True
                proxy.cut()
                wait_until(
                    lambda: all(
                        member._driver._driver._fetching.link.connection is None for member in members
                    ),
                    "the loss is noticed",
                )
                proxy.is_stopped = False
        producer.flush(20)
        wait_until(lambda: len(set(got)) == 400, "all records came")
        stop.set()
        for thread in threads:
            thread.join(10)
