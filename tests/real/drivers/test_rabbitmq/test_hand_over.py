"""What stood in a topic before a group was there: read first, in order, without loss or doubles."""

import threading
import time

import pytest

import streamproof
from streamproof.records import AtTime
from tests.real.drivers.test_rabbitmq.conftest import read_all, wait_until

PRODUCERS = 3


class Traffic:
    """Producers that never stop, until told to: each numbers its records in each partition."""

    def __init__(self, bus, topic, partitions):
        self.stop = threading.Event()
        self.sent: dict[tuple[int, int], int] = {}
        self.threads = [
            threading.Thread(target=self._send, args=(bus, topic, partitions, number), daemon=True)
            for number in range(PRODUCERS)
        ]
        for thread in self.threads:
            thread.start()

    def _send(self, bus, topic, partitions, name):
        producer = bus.producer()
        deliveries = []
        number = 0
        while not self.stop.is_set():
            for partition in range(partitions):
                deliveries.append(producer.send(topic, b"%d %d" % (name, number), partition=partition))
            number += 1
            if number % 20 == 0:
                deliveries[-1].result(20)
        producer.flush(20)
        assert all(delivery.outcome is streamproof.Outcome.ACKNOWLEDGED for delivery in deliveries)
        for partition in range(partitions):
            self.sent[name, partition] = number

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


def sequences(records):
    """Numbers by producer and partition, as they came."""
    found: dict[tuple[int, int], list[int]] = {}
    for record in records:
        name, number = map(int, record.value.split())
        found.setdefault((name, record.partition), []).append(number)
    return found


def test_groups_made_under_traffic_get_everything_once_and_in_order(bus):
    bus.admin().create_topic("t", 2)
    traffic = Traffic(bus, "t", 2)
    with bus.consumer("t") as reader:
        read_all(reader, 500)
    groups = {f"g{number}": bus.consumer("t", group=f"g{number}") for number in range(6)}
    with bus.consumer("t") as reader:
        read_all(reader, 3000)
    traffic.end()
    total = sum(traffic.sent.values())
    for group, consumer in groups.items():
        found = sequences(read_all(consumer, total))
        for place, count in traffic.sent.items():
            assert found[place] == list(range(count)), f"{place} in {group}"
        assert consumer.poll(1, 0.1) == []


def test_members_that_start_a_group_at_once_set_it_up_once(bus):
    bus.admin().create_topic("t", 4)
    traffic = Traffic(bus, "t", 4)
    members: list[streamproof.Consumer] = []
    starters = [
        threading.Thread(target=lambda: members.append(bus.consumer("t", group="g")), daemon=True)
        for _ in range(4)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(30)
    with bus.consumer("t") as reader:
        read_all(reader, 1500)
    traffic.end()
    total = sum(traffic.sent.values())
    got = []
    deadline_s = time.monotonic() + 30
    while len(got) < total and time.monotonic() < deadline_s:
        for member in members:
            records = member.poll(200, 0.02)
            got += records
            member.ack(records)
    found = sequences(got)
    for place, count in traffic.sent.items():
        assert found[place] == list(range(count)), place


def test_a_backlog_half_read_is_continued_by_the_next_owner(bus):
    bus.admin().create_topic("t")
    bus.producer().send_many("t", [b"%d" % number for number in range(100)]).result(10)
    with bus.consumer("t", group="g") as first:
        read = read_all(first, 30, acks=False)[:30]
        assert [record.value for record in read] == [b"%d" % number for number in range(30)]
    with bus.consumer("t", group="g") as second:
        records = read_all(second, 40, acks=False)[:40]
        assert records[0].value == b"0"
        second.ack(records[:25])
        second.ack(records[30:35])
    bus.producer().send("t", b"100").result(10)
    with bus.consumer("t", group="g") as third:
        values = [int(record.value) for record in read_all(third, 76)]
        assert values == list(range(25, 101))
    with bus.consumer("t", group="g") as fourth:
        assert fourth.poll(10, 0.3) == []


def test_a_group_starts_at_a_time(bus):
    bus.admin().create_topic("t")
    base_ms = int(time.time() * 1000) - 60_000
    producer = bus.producer()
    for number in range(10):
        producer.send("t", b"%d" % number, timestamp_ms=base_ms + number * 1000)
    producer.flush()
    with bus.consumer("t", group="g", start=AtTime(base_ms + 6500)) as member:
        producer.send("t", b"10").result(10)
        assert [record.value for record in read_all(member, 4)] == [b"7", b"8", b"9", b"10"]
    with bus.consumer("t", group="later", start=AtTime(base_ms + 3_600_000)) as member:
        producer.send("t", b"11").result(10)
        assert [record.value for record in read_all(member, 1)] == [b"11"]


def test_a_group_starts_at_the_end(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    producer.send("t", b"old").result(10)
    with bus.consumer("t", group="g", start="latest") as member:
        producer.send("t", b"new").result(10)
        assert [record.value for record in read_all(member, 1)] == [b"new"]


def test_without_a_log_a_group_can_start_at_the_end_only(rabbitmq_url, namespace):
    joint = "&" if "?" in rabbitmq_url else "?"
    with streamproof.connect(f"{rabbitmq_url}{joint}log=off", namespace=namespace) as bus:
        bus.admin().create_topic("t")
        producer = bus.producer()
        refused = producer.send("t", b"nobody reads")
        with pytest.raises(streamproof.BackendError, match="no group"):
            refused.result(10)
        assert refused.outcome is streamproof.Outcome.FAILED
        with pytest.raises(streamproof.Unsupported, match="latest"):
            bus.consumer("t", group="g")
        with pytest.raises(streamproof.Unsupported):
            bus.consumer("t")
        with bus.consumer("t", group="g", start="latest") as member:
            producer.send("t", b"somebody reads").result(10)
            assert [record.value for record in read_all(member, 1)] == [b"somebody reads"]
        with bus.consumer("t", group="g") as member:
            wait_until(lambda: member.poll(1, 0.1) == [] and member.assignment() != (), "it is there already")
        bus.admin().delete_topics("t")
