"""Groups on a real server: members that come, go, die and hang; order, and nothing lost."""

import os
import signal
import threading
import time

import pytest

import streamproof
from tests.real.drivers.test_rabbitmq.conftest import read_all, wait_until


class Ledger:
    """What members handled, in the order they did, under one lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.values: dict[int, list[int]] = {}

    def handle(self, record):
        with self.lock:
            self.values.setdefault(record.partition, []).append(int(record.value))

    def count(self):
        with self.lock:
            return sum(map(len, self.values.values()))


class Worker:
    """A member on a thread of its own that handles and acknowledges until it is told to stop."""

    def __init__(self, bus, topic, group, ledger, **options):
        self.consumer = bus.consumer(topic, group=group, **options)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._work, args=(ledger,), daemon=True)
        self.thread.start()

    def _work(self, ledger):
        while not self.stop.is_set():
            for record in self.consumer.poll(20, 0.05):
                ledger.handle(record)
                self.consumer.ack(record)

    def leave(self):
        self.stop.set()
        self.thread.join(20)
        self.consumer.close()


def test_members_come_and_go_under_traffic_and_nothing_is_lost_doubled_or_out_of_order(bus):
    bus.admin().create_topic("t", 6)
    ledger = Ledger()
    workers = [Worker(bus, "t", "g", ledger)]
    producer = bus.producer()
    sent = 0
    for step in range(8):
        for _ in range(300):
            producer.send("t", b"%d" % sent, partition=sent % 6)
            sent += 1
        producer.flush()
        if step in (0, 1, 2, 4):
            workers.append(Worker(bus, "t", "g", ledger))
        elif len(workers) > 1:
            workers.pop(step % 2).leave()
        before = ledger.count()
        wait_until(lambda: ledger.count() > before or ledger.count() == sent, "work goes on")  # noqa: B023
    wait_until(lambda: ledger.count() >= sent, "everything is handled")
    for worker in workers:
        worker.leave()
    for partition, values in ledger.values.items():
        assert values == list(range(partition, sent, 6))


def test_thirty_redeliveries_lose_nothing(bus):
    bus.admin().create_topic("t")
    bus.producer().send_many("t", [b"%d" % number for number in range(5)]).result(10)
    with bus.consumer("t", group="g", start="latest") as member:
        member.wait_assigned()
        bus.producer().send_many("t", [b"%d" % number for number in range(5, 10)]).result(10)
        read_all(member, 5, acks=False)
    attempts = []
    for _ in range(30):
        with bus.consumer("t", group="g") as member:
            records = read_all(member, 5, acks=False)
            assert [record.value for record in records] == [b"5", b"6", b"7", b"8", b"9"]
            attempts.append(records[0].attempt)
    assert attempts == list(range(2, 32))


def test_a_member_that_is_killed_is_replaced_at_once_and_what_it_held_comes_first(bus, start_member):
    bus.admin().create_topic("t")
    dying = start_member("t", "g", session_s=30, acks="no")
    producer = bus.producer()
    producer.send_many("t", [b"%d" % number for number in range(10)]).result(10)
    assert len(dying.read(10)) == 10
    with bus.consumer("t", group="g", session_timeout_s=30) as successor:
        producer.send("t", b"10").result(10)
        assert successor.poll(10, 0.5) == []
        killed_s = time.monotonic()
        os.kill(dying.process.pid, signal.SIGKILL)
        records = read_all(successor, 11)
        # Far below the session timeout: the broken connection tells.
        assert time.monotonic() - killed_s < 25
        assert [record.value for record in records] == [b"%d" % number for number in range(11)]


def test_a_member_that_is_stopped_is_out_after_its_session_and_comes_back(bus, start_member):
    bus.admin().create_topic("t", 2)
    hanging = start_member("t", "g", session_s=3)
    producer = bus.producer()
    producer.send("t", b"before", partition=0).result(10)
    assert hanging.read(1) == ["0 before"]
    with bus.consumer("t", group="g", session_timeout_s=3) as other:
        wait_until(lambda: other.poll(10, 0.1) == [] and len(other.assignment()) == 1, "they share")
        os.kill(hanging.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: other.poll(10, 0.1) == [] and len(other.assignment()) == 2, "it is out")
            producer.send("t", b"zero", partition=0).result(10)
            producer.send("t", b"one", partition=1).result(10)
            assert sorted(record.value for record in read_all(other, 2)) == [b"one", b"zero"]
        finally:
            os.kill(hanging.process.pid, signal.SIGCONT)
        wait_until(lambda: other.poll(10, 0.1) == [] and len(other.assignment()) == 1, "it is back")


def test_a_member_that_is_not_polled_lets_others_work_and_learns_that_it_lost(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    with bus.consumer("t", group="g", max_poll_interval_s=1.5) as idle:
        idle.wait_assigned()
        busy = bus.consumer("t", group="g")
        producer.send("t", b"0").result(10)
        taken = read_all(idle, 1, acks=False)
        assert [record.value for record in read_all(busy, 1)] == [b"0"]
        with pytest.raises(streamproof.NotAssigned):
            idle._driver._driver.ack(taken)
        assert idle.poll(10, 0.1) == []
        assert idle.assignment() == ()
        busy.close()
        producer.send("t", b"1").result(10)
        assert [record.value for record in read_all(idle, 1)] == [b"1"]


def test_topics_come_and_go_under_a_pattern(bus):
    admin, producer = bus.admin(), bus.producer()
    admin.create_topic("a.1")
    with bus.consumer(pattern=r"a\..*", group="g") as member:
        producer.send("a.1", b"1").result(10)
        assert [record.value for record in read_all(member, 1)] == [b"1"]
        admin.create_topic("a.2", 2)
        producer.send("a.2", b"2").result(10)
        assert [record.value for record in read_all(member, 1)] == [b"2"]
        admin.delete_topics("a.1")
        wait_until(
            lambda: member.poll(1, 0.1) == [] and {log.topic for log in member.assignment()} == {"a.2"},
            "the deleted one is let go",
        )
        admin.create_topic("a.1")
        producer.send("a.1", b"3").result(10)
        assert [record.value for record in read_all(member, 1)] == [b"3"]


def test_the_admin_sees_who_holds_what(bus):
    bus.admin().create_topic("t", 4)
    admin = bus.admin()
    with bus.consumer("t", group="g") as first, bus.consumer("t", group="g") as second:
        wait_until(
            lambda: (
                [first.poll(1, 0.05), second.poll(1, 0.05)] == [[], []]
                and len(first.assignment()) == len(second.assignment()) == 2
            ),
            "they share",
        )
        found = admin.describe_group("g")
        assert found.state == "stable"
        assert sorted(member.partitions for member in found.members) == sorted(
            [first.assignment(), second.assignment()]
        )
        assert found.generation == max(first.generation or 0, second.generation or 0)
    assert admin.describe_group("g").state == "empty"
    assert admin.describe_group("nobody").state == "dead"
    assert admin.list_groups() == ["g"]
