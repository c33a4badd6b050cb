"""Topics are what the stream of definitions says: one winner, no leftovers, snapshots on the way."""

import threading

import pika
import pika.exceptions
import pytest

import streamproof
from streamproof.drivers.rabbitmq import replay as replaying
from streamproof.drivers.rabbitmq.topology import group_queue_of, stream_of
from tests.real.drivers.test_rabbitmq.conftest import read_all


def exists(url, queue):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True


def test_of_many_creators_one_wins_and_all_see_its_topic(rabbitmq_url, namespace, bus):
    buses = [streamproof.connect(rabbitmq_url, namespace=namespace) for _ in range(5)]
    outcomes: list[int | None] = [None] * len(buses)
    together = threading.Barrier(len(buses))

    def create(place):
        together.wait(10)
        try:
            buses[place].admin().create_topic("t", place + 1)
            outcomes[place] = place + 1
        except streamproof.TopicExists:
            pass

    threads = [threading.Thread(target=create, args=(place,), daemon=True) for place in range(len(buses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (partitions,) = [outcome for outcome in outcomes if outcome is not None]
    for one in buses:
        assert one.admin().describe_topic("t").partitions == partitions
        assert one.producer().send("t", b"v", partition=partitions - 1).result(10) is not None
        one.close()
    with bus.consumer("t") as reader:
        assert len(read_all(reader, 5)) == 5


def test_a_deleted_topic_leaves_no_queues_and_can_be_made_anew(bus, rabbitmq_url, namespace):
    bus.admin().create_topic("t", 2)
    bus.producer().send("t", b"old").result(10)
    bus.consumer("t", group="g").close()
    found = bus._driver._driver._definitions.catalogue.topic(f"{namespace}t")
    queues = [stream_of(found.name, found.id, 1), group_queue_of(found.name, found.id, 1, f"{namespace}g")]
    assert all(exists(rabbitmq_url, queue) for queue in queues)
    bus.admin().delete_topics("t")
    assert not any(exists(rabbitmq_url, queue) for queue in queues)
    assert bus.admin().list_groups() == []
    with pytest.raises(streamproof.UnknownTopic):
        bus.consumer("t")
    bus.admin().create_topic("t", 1)
    bus.producer().send("t", b"new").result(10)
    with bus.consumer("t", group="g") as member:
        assert [record.value for record in read_all(member, 1)] == [b"new"]


def test_a_group_that_was_set_up_half_way_is_set_up_anew(bus, rabbitmq_url, namespace):
    """Its maker died: the queue is there, unbound or stale, and defined as being opened only."""
    bus.admin().create_topic("t")
    bus.producer().send("t", b"0").result(10)
    definitions = bus._driver._driver._definitions
    found = definitions.catalogue.topic(f"{namespace}t")
    queue = group_queue_of(found.name, found.id, 0, f"{namespace}g")
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.queue_declare(
            queue, durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
        )
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"a leftover", mandatory=True)
    with bus.consumer("t", group="g") as member:
        assert [record.value for record in read_all(member, 1)] == [b"0"]
        assert member.poll(1, 0.2) == []


def test_a_connection_reads_back_to_a_snapshot_and_knows_everything(
    bus, rabbitmq_url, namespace, monkeypatch
):
    """With small numbers, so that this run's stream is long enough."""
    monkeypatch.setattr(replaying, "WINDOW", 30)
    monkeypatch.setattr(replaying, "SNAPSHOT_EVERY", 8)
    bus.admin().create_topic("kept", 3)
    bus.consumer("kept", group="g", start="latest").close()
    for number in range(25):
        bus.admin().create_topic(f"passing-{number}")
        bus.admin().delete_topics(f"passing-{number}")
    with streamproof.connect(rabbitmq_url, namespace=namespace) as fresh:
        replay = fresh._driver._driver._definitions._replay
        assert replay.start > 0
        assert replay.is_based
        assert fresh.admin().list_topics() == ["kept"]
        assert fresh.admin().describe_topic("kept").partitions == 3
        assert fresh.admin().list_groups() == ["g"]


def test_a_group_with_a_long_past_is_joined_from_a_snapshot(bus, monkeypatch):
    monkeypatch.setattr(replaying, "WINDOW", 20)
    monkeypatch.setattr(replaying, "SNAPSHOT_EVERY", 5)
    bus.admin().create_topic("t", 2)
    producer = bus.producer()
    generations = []
    for number in range(20):
        with bus.consumer("t", group="g") as member:
            producer.send("t", b"%d" % number).result(10)
            assert [record.value for record in read_all(member, 1)] == [b"%d" % number]
            generations.append(member.generation)
    assert generations == sorted(set(generations))
    assert bus.admin().describe_group("g").state == "empty"


def test_what_a_topic_cannot_be_is_refused(bus):
    with pytest.raises(streamproof.Unsupported, match="compact"):
        bus.admin().create_topic("t", is_compacted=True)
    assert bus.admin().list_topics() == []
