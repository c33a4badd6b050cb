"""A namespace: names are changed on the way in and back on the way out, everywhere."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from streamproof import (
    AtTime,
    Bus,
    ConsumerObserver,
    NotAssigned,
    TopicPartition,
    UnknownTopic,
    aconnect,
    connect,
)

_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://namespaces-{next(_numbers)}"


@pytest.fixture
def plain(url: str) -> Iterator[Bus]:
    """The same backend, seen without a namespace."""
    with connect(url) as bus:
        yield bus


@pytest.fixture
def inside(url: str) -> Iterator[Bus]:
    with connect(url, namespace="ns.") as bus:
        yield bus


LOG = TopicPartition("topic", 0)
REAL_LOG = TopicPartition("ns.topic", 0)


def test_topics_are_made_listed_described_and_deleted_by_their_own_names(plain: Bus, inside: Bus) -> None:
    plain.admin().create_topic("other")
    inside.admin().create_topic("topic", 2)
    assert plain.admin().list_topics() == ["ns.topic", "other"]
    assert inside.admin().list_topics() == ["topic"]
    assert inside.admin().describe_topic("topic").name == "topic"
    assert inside.admin().describe_topic("topic").partitions == 2
    with pytest.raises(UnknownTopic):
        inside.admin().describe_topic("other")
    inside.admin().delete_topics("topic")
    assert plain.admin().list_topics() == ["other"]


def test_receipts_and_records_have_the_application_s_name(plain: Bus, inside: Bus) -> None:
    inside.admin().create_topic("topic")
    producer = inside.producer()
    delivery = producer.send("topic", b"1", key=b"k", headers={"h": "v"}, timestamp_ms=5)
    batch = producer.send_many("topic", [b"2", b"3"])
    assert delivery.result().topic == "topic"
    assert delivery.receipt == delivery.result()
    assert [receipt.topic for receipt in batch.result()] == ["topic", "topic"]
    assert [each.receipt for each in batch] == batch.result()
    [first, *_] = inside.consumer("topic").poll()
    assert (first.topic, first.value, first.key, first.header("h")) == ("topic", b"1", b"k", b"v")
    assert [record.topic for record in plain.consumer("ns.topic").poll()] == ["ns.topic"] * 3


class Listener(ConsumerObserver):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def assigned(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        self.heard.append(("assigned", list(partitions), dict(positions)))

    def revoked(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self.heard.append(("revoked", list(partitions)))

    def commit_begins(self, generation: int | None, offsets: Mapping[TopicPartition, int]) -> None:
        self.heard.append(("commit", dict(offsets)))


def test_a_group_s_verbs_take_and_give_the_application_s_names(plain: Bus, inside: Bus) -> None:
    inside.admin().create_topic("topic")
    inside.producer().send_many("topic", [b"%d" % number for number in range(5)]).result()
    listener = Listener()
    consumer = inside.consumer("topic", group="group", observer=listener, commit_interval_s=None)
    records = consumer.poll()
    assert consumer.assignment() == (LOG,)
    assert listener.heard == [("assigned", [LOG], {LOG: 0})]
    consumer.ack(records[:2])
    consumer.commit()
    assert listener.heard[-1] == ("commit", {LOG: 2})
    assert consumer.committed() == consumer.committed(LOG) == {LOG: 2}
    assert consumer.position(LOG) == 5
    assert consumer.lag() == {LOG: 0}
    for place, first in ((3, b"3"), ("beginning", b"0"), (AtTime(0), b"0")):
        consumer.seek(place, [LOG])  # type: ignore[arg-type]
        assert consumer.poll()[0].value == first
    consumer.pause(LOG)
    inside.producer().send("topic", b"5")
    assert consumer.poll(timeout_s=0) == []
    consumer.resume(LOG)
    assert consumer.poll()[0].value == b"5"
    with pytest.raises(NotAssigned):
        consumer.seek(0, [REAL_LOG])
    assert inside.admin().list_groups() == ["group"]
    description = inside.admin().describe_group("group")
    assert description.name == "group"
    assert [member.partitions for member in description.members] == [(LOG,)]
    assert plain.admin().list_groups() == ["ns.group"]
    assert plain.admin().describe_group("ns.group").members[0].partitions == (REAL_LOG,)
    consumer.close()
    assert listener.heard[-1] == ("revoked", [LOG])


def test_a_pattern_sees_the_namespace_only(plain: Bus, inside: Bus) -> None:
    for name in ("ns.a1", "ns.b", "a2", "xns.a3"):
        plain.admin().create_topic(name)
    for pattern, expected in (("a.", {"a1"}), ("a1|b", {"a1", "b"}), (".*", {"a1", "b"})):
        with inside.consumer(pattern=pattern) as reader:
            assert {log.topic for log in reader.assignment()} == expected


def test_a_prefix_is_no_pattern(url: str, plain: Bus) -> None:
    for name in ("n.s.a", "nxs.a", "n.sxa"):
        plain.admin().create_topic(name)
    with connect(url, namespace="n.s.") as bus, bus.consumer(pattern=".*") as reader:
        assert reader.assignment() == (TopicPartition("a", 0),)


def test_logs_are_trimmed_by_the_application_s_names(inside: Bus) -> None:
    inside.admin().create_topic("topic")
    inside.producer().send_many("topic", [b"0", b"1", b"2"]).result()
    inside.admin().delete_records({LOG: 2})
    assert [record.value for record in inside.consumer("topic").poll()] == [b"2"]


def test_the_namespace_may_stand_in_the_url(url: str, plain: Bus) -> None:
    with connect(f"{url}?namespace=ns.") as bus:
        bus.admin().create_topic("topic")
        assert bus.native is plain.native
        assert bus.capabilities == plain.capabilities
    assert plain.admin().list_topics() == ["ns.topic"]


def test_a_crash_goes_through(inside: Bus) -> None:
    inside.admin().create_topic("topic")
    consumer = inside.consumer("topic", group="group")
    consumer.wait_assigned()
    consumer.vanish()
    assert consumer.is_closed


async def used_by_coroutines(url: str) -> None:
    async with await aconnect(url, namespace="ns.") as bus:
        await (await bus.admin()).create_topic("topic")
        producer = await bus.producer()
        delivery = await producer.send("topic", b"1")
        assert (await delivery).topic == "topic"
        assert [receipt.topic for receipt in await (await producer.send_many("topic", [b"2"])).result()] == [
            "topic"
        ]
        consumer = await bus.consumer("topic", group="group")
        records = await consumer.poll()
        assert [record.topic for record in records] == ["topic"] * len(records)
        assert consumer.assignment() == (LOG,)
        await consumer.ack(records)
        await consumer.commit()
        assert await consumer.committed() == {LOG: len(records)}


def test_coroutines_alike(url: str) -> None:
    asyncio.run(used_by_coroutines(url))
