"""Sending into an in-memory cluster."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.core.batch import record_size
from streamproof.core.partitioner import partition_for
from streamproof.deliveries import Outcome
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.settings import MemorySettings
from streamproof.errors import (
    Closed,
    ConfigurationError,
    DeliveryUnknown,
    RecordTooLarge,
    TimedOut,
    UnknownTopic,
    Unreachable,
)
from streamproof.options import ProducerOptions
from streamproof.records import Outgoing, Receipt, TopicPartition, TopicSpec


def stored(world, topic="readings"):
    """Everything in a topic, by partition."""
    with world.cluster.lock:
        return [log.read(log.start_offset, 10_000)[0] for log in world.cluster.topics.topic(topic).logs]


def test_a_record_comes_back_as_it_was_sent(world):
    headers = (("trace", b"\x00\xff"), ("trace", None))
    receipt = world.send(b"23.5", b"device-7", timestamp_ms=1234, headers=headers).result(0)
    partition = partition_for(b"device-7", 4)
    assert receipt == Receipt("readings", partition, 0, 1234)
    [record] = stored(world)[partition]
    assert (record.key, record.value, record.headers) == (b"device-7", b"23.5", headers)
    assert (record.topic, record.partition, record.offset) == receipt[:3]
    assert (record.timestamp_ms, record.attempt, record.is_redelivered) == (1234, 1, False)


def test_a_delivery_tells_callbacks_and_shows_no_payload(world):
    delivery = world.send(b"secret", b"hidden")
    heard = []
    delivery.add_done_callback(heard.append)
    assert heard == [delivery]
    assert "secret" not in repr(world.send(b"secret", b"hidden"))
    assert delivery.error is None
    assert delivery.receipt is delivery.receipt == delivery.result(0)


def test_the_cluster_s_clock_gives_the_time(world, clock):
    clock.advance(7)
    receipt = world.send().result(0)
    assert receipt.timestamp_ms == clock.now_ms()
    [receipt] = world.producer.send_many("readings", [Outgoing(b"value")], 1).result(0)
    assert receipt.timestamp_ms == clock.now_ms()


def test_records_without_a_key_go_to_every_partition_in_turn(world):
    sent = [world.send().result(0).partition for _ in range(8)]
    many = world.producer.send_many("readings", [Outgoing(b"value")] * 8, 1).result(0)
    for partitions in (sent, [receipt.partition for receipt in many]):
        assert [partitions.count(partition) for partition in range(4)] == [2, 2, 2, 2]


outgoing = st.builds(
    Outgoing,
    value=st.none() | st.binary(max_size=12),
    key=st.none() | st.sampled_from([b"a", b"b", b"long key"]),
    headers=st.sampled_from([(), (("name", b"content"),), (("name", None), ("name", b""))]),
    partition=st.sampled_from([None, None, 0, 2, 3, 4, -1]),
    timestamp_ms=st.sampled_from([None, 5, 6]),
)


@given(st.lists(st.lists(outgoing, max_size=12), max_size=4), st.sampled_from([80, 1000]))
def test_send_many_does_what_as_many_sends_do(batches, limit):
    class Still:
        def now_ms(self):
            return 42

        def monotonic_ns(self):
            return 0

    answers = []
    logs = []
    for is_many in (True, False):
        cluster = MemoryCluster(clock=Still(), settings=MemorySettings(max_message_bytes=limit))
        driver = cluster.driver()
        driver.admin().create_topics([TopicSpec("t", 4)], 1)
        producer = driver.producer(ProducerOptions())
        deliveries = []
        for batch in batches:
            if is_many:
                deliveries += producer.send_many("t", batch, 1)
            else:
                for record in batch:
                    place = (record.headers, record.partition, record.timestamp_ms)
                    deliveries.append(producer.send("t", record.value, record.key, *place, 1))
        answers.append([delivery.receipt or type(delivery.error) for delivery in deliveries])
        logs.append([(log.read(0, 999), log.size) for log in cluster.topics.topic("t").logs])
    assert answers[0] == answers[1]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    "batch",
    [
        [Outgoing(b"four", b"key")] * 30,
        [Outgoing(b"four", b"key"), Outgoing(b"fifth", b"key")] * 15,
        [Outgoing(b"four", b"key"), Outgoing(b"four", b"longer")] * 15,
        [Outgoing(b"four", b"key"), Outgoing(b"four", b"key", headers=(("name", b"content"),))] * 15,
        [Outgoing(b"four", b"key"), Outgoing(None, b"key"), Outgoing(b"four", None)] * 10,
    ],
)
def test_a_batch_counts_for_the_bytes_of_its_records(world, batch):
    assert not world.producer.send_many("readings", batch, 1).errors
    expected = sum(record_size(record.key, record.value, record.headers) for record in batch)
    assert sum(log.size for log in world.cluster.topics.topic("readings").logs) == expected


@pytest.mark.parametrize("count", [3, 200])
def test_the_deliveries_of_a_batch_are_a_sequence(world, count):
    batch = [Outgoing(b"%d" % number, b"key-%d" % (number % 7)) for number in range(count)]
    deliveries = world.producer.send_many("readings", batch, 1)
    assert deliveries.is_settled
    assert deliveries.errors == []
    receipts = deliveries.result(0)
    assert len(deliveries) == len(receipts) == count
    assert [delivery.receipt for delivery in deliveries] == receipts
    assert deliveries[-1].result(0) == receipts[-1]
    assert [delivery.receipt for delivery in deliveries[1:3]] == receipts[1:3]
    with pytest.raises(IndexError):
        deliveries[count]
    by_place = {(record.partition, record.offset): record for log in stored(world) for record in log}
    for record, receipt in zip(batch, receipts, strict=True):
        assert by_place[receipt.partition, receipt.offset].value == record.value


def test_one_bad_record_of_a_batch_fails_alone(world):
    deliveries = world.producer.send_many(
        "readings",
        [Outgoing(b"1", b"a"), Outgoing(b"2", partition=9), Outgoing(bytes(2_000_000)), Outgoing(b"4", b"a")],
        1,
    )
    kinds = [type(delivery.error) for delivery in deliveries]
    assert kinds == [type(None), UnknownTopic, RecordTooLarge, type(None)]
    assert [type(error) for error in deliveries.errors] == [UnknownTopic, RecordTooLarge]
    with pytest.raises(UnknownTopic, match="no partition 9"):
        deliveries.result(0)
    assert [record.value for record in stored(world)[partition_for(b"a", 4)]] == [b"1", b"4"]


def test_the_size_limit_is_kafka_s_to_the_byte(world):
    fits = 1_048_588 - 61 - 10
    assert world.send(bytes(fits)).outcome is Outcome.ACKNOWLEDGED
    refused = world.send(bytes(fits + 1))
    assert isinstance(refused.error, RecordTooLarge)
    assert refused.outcome is Outcome.FAILED


def test_an_unknown_topic_is_the_outcome_of_the_delivery(world):
    delivery = world.send(topic="nowhere")
    assert delivery.outcome is Outcome.FAILED
    with pytest.raises(UnknownTopic, match="'nowhere'"):
        delivery.result(0)
    assert isinstance(world.producer.send_many("nowhere", [Outgoing(b"value")], 1).errors[0], UnknownTopic)
    assert world.admin.list_topics(1) == ["readings"]


def test_auto_create_makes_the_topic_with_the_partitions_of_the_url():
    cluster = MemoryCluster(settings=MemorySettings(partitions=5, auto_create=True))
    driver = cluster.driver()
    producer = driver.producer(ProducerOptions())
    assert producer.send("new", b"value", b"key", (), None, None, 1).result(0).offset == 0
    assert producer.send_many("newer", [Outgoing(b"value")], 1).result(0)[0].offset == 0
    assert [topic.partitions for topic in driver.admin().describe_topics(["new", "newer"], 1)] == [5, 5]


def test_after_close_nothing_is_taken(world):
    world.producer.flush(1)
    world.producer.close(1)
    world.producer.close(1)
    with pytest.raises(Closed):
        world.send()
    with pytest.raises(Closed):
        world.producer.send_many("readings", [Outgoing(b"value")], 1)
    with pytest.raises(Closed):
        world.producer.flush(1)
    assert stored(world) == [[], [], [], []]


def test_native_settings_are_refused(world):
    with pytest.raises(ConfigurationError, match=r"batch\.size"):
        world.driver.producer(ProducerOptions(native={"batch.size": 1}))


# -- faults --------------------------------------------------------------------------------


def test_a_rejected_record_is_not_stored(world):
    rule = world.cluster.faults.reject("produce", Unreachable, skip=1)
    outcomes = [world.send(partition=0).outcome for _ in range(3)]
    assert outcomes == [Outcome.ACKNOWLEDGED, Outcome.FAILED, Outcome.ACKNOWLEDGED]
    assert rule.hits == 1
    assert len(stored(world)[0]) == 2


def test_a_lost_acknowledgement_leaves_the_record_stored_and_its_sender_in_doubt(world):
    rule = world.cluster.faults.lose_answer("produce")
    delivery = world.send(b"stored", partition=0)
    assert delivery.outcome is Outcome.UNKNOWN
    assert isinstance(delivery.error, DeliveryUnknown)
    assert [record.value for record in stored(world)[0]] == [b"stored"]
    assert rule.hits == 1
    assert world.send().outcome is Outcome.ACKNOWLEDGED


def test_a_fault_strikes_the_part_of_a_batch_that_goes_to_its_log(world):
    world.cluster.faults.lose_answer("produce", matches=lambda request: request.partition == 1)
    world.cluster.faults.reject("produce", Unreachable, matches=lambda request: request.partition == 2)
    batch = [Outgoing(b"%d" % number, partition=number % 4) for number in range(8)]
    deliveries = world.producer.send_many("readings", batch, 1)
    outcomes = [delivery.outcome for delivery in deliveries]
    assert outcomes == [Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.FAILED, Outcome.ACKNOWLEDGED] * 2
    assert [len(log) for log in stored(world)] == [2, 2, 0, 2]
    for delivery, record in zip(deliveries, batch, strict=True):
        if delivery.receipt is not None:
            assert stored(world)[record.partition][delivery.receipt.offset].value == record.value


def test_the_answer_to_an_admin_verb_can_be_lost(world):
    world.cluster.faults.lose_answer("admin", times=3)
    with pytest.raises(TimedOut):
        world.admin.create_topics([TopicSpec("new")], 1)
    with pytest.raises(TimedOut):
        world.admin.delete_topics(["readings"], 1)
    with pytest.raises(TimedOut) as unknown:
        world.admin.delete_records({TopicPartition("new", 0): 0}, 1)
    assert not unknown.value.definite
    assert world.admin.list_topics(1) == ["new"]


def test_a_cut_cluster_is_unreachable_until_healed(world):
    world.cluster.faults.cut()
    world.cluster.faults.cut()
    delivery = world.send()
    assert isinstance(delivery.error, Unreachable)
    assert delivery.outcome is Outcome.FAILED
    with pytest.raises(Unreachable):
        world.admin.list_topics(1)
    with pytest.raises(Unreachable):
        world.admin.create_topics([TopicSpec("new")], 1)
    world.cluster.faults.heal()
    assert world.send().outcome is Outcome.ACKNOWLEDGED
    assert world.admin.list_topics(1) == ["readings"]


# -- the other colour ----------------------------------------------------------------------


def test_coroutines_send_alike(world):
    async def main():
        driver = world.cluster.async_driver()
        producer = await driver.producer(ProducerOptions())
        delivery = await producer.send("readings", b"one", b"key", (), None, None, 1)
        first = await delivery
        assert await delivery.result(0) == first
        batch = [Outgoing(b"two", b"key"), Outgoing(b"bad", partition=9)]
        deliveries = await producer.send_many("readings", batch, 1)
        assert deliveries.is_settled
        assert [type(error) for error in deliveries.errors] == [UnknownTopic]
        with pytest.raises(UnknownTopic):
            await deliveries.result(0)
        assert (await deliveries[0]).offset == first.offset + 1
        assert len(await (await producer.send_many("readings", batch[:1], 1)).result(0)) == 1
        await producer.flush(1)
        await producer.close(1)
        with pytest.raises(Closed):
            await producer.send("readings", b"late", None, (), None, None, 1)
        return first

    first = asyncio.run(main())
    assert [record.value for record in stored(world)[first.partition]] == [b"one", b"two", b"two"]


def test_a_coroutine_that_only_sends_lets_others_run(world):
    async def main():
        producer = await world.cluster.async_driver().producer(ProducerOptions())
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        for _ in range(2000):
            await producer.send("readings", b"value", None, (), None, None, 1)
        other.cancel()
        return ticks

    assert asyncio.run(main()) >= 5


def test_topic_partition_of_a_request_is_told(world):
    seen = []

    class Spy:
        def before(self, request):
            seen.append((request.api, request.topic, request.partition))

        def after(self, request):
            return None

    world.cluster.faults.add(Spy())
    world.send(partition=3)
    assert seen == [("produce", *TopicPartition("readings", 3))]
