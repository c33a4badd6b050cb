"""Sends to a real broker, where this driver has more to do than its library."""

import asyncio

import pytest

from streamproof.deliveries import Outcome
from streamproof.errors import BackendError, UnknownTopic
from streamproof.records import Outgoing

PATIENCE_S = 30.0


def test_nothing_makes_the_topics_it_names(stage):
    async def scene(place):
        producer = await place.producer()
        name = place.name("nowhere")
        delivery = await place.send(producer, name)
        assert isinstance(delivery.error, UnknownTopic)
        with pytest.raises(UnknownTopic):
            await place.consumer(name, group=place.name("group"))
        with pytest.raises(UnknownTopic):
            await place.admin.describe_topics([name], PATIENCE_S)
        assert name not in await place.admin.list_topics(PATIENCE_S)

    stage(scene)


def test_a_topic_that_was_deleted_stays_so_under_its_clients(stage):
    async def scene(place):
        topic = await place.topic(2)
        producer = await place.producer()
        reader = await place.consumer(topic)
        await (await place.send(producer, topic)).result(PATIENCE_S)
        await place.admin.delete_topics([topic], PATIENCE_S)
        clients = [place.driver.native["producers"][0].client, place.driver.native["consumers"][0]._client]
        for client in clients:
            await client.force_metadata_update()
        delivery = await place.send(producer, topic)
        await place.wait_for(lambda: delivery.is_settled, "the outcome of a send to a topic that is gone")
        assert delivery.outcome is not Outcome.ACKNOWLEDGED
        # What was fetched before it went may still come.
        await reader.poll(10, 0.5)
        assert topic not in await place.admin.list_topics(PATIENCE_S)

    stage(scene)


def test_a_topic_made_again_takes_records_again(stage):
    async def scene(place):
        from streamproof.records import TopicSpec

        topic = await place.topic()
        producer = await place.producer()
        await (await place.send(producer, topic)).result(PATIENCE_S)
        await place.admin.delete_topics([topic], PATIENCE_S)
        await place.admin.create_topics([TopicSpec(topic, 3)], PATIENCE_S)
        receipts = []

        async def send():
            delivery = await place.send(producer, topic, partition=2)
            await place.wait_for(lambda: delivery.is_settled, "an outcome")
            if delivery.receipt is not None:
                receipts.append(delivery.receipt)

        await place.wait_for(lambda: receipts, "a receipt from the new topic", send)
        assert receipts[0].partition == 2

    stage(scene)


def test_each_receipt_of_a_batch_has_its_own_time(stage):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer(linger_ms=50.0)
        records = [Outgoing(b"v", timestamp_ms=1_700_000_000_000 + number) for number in range(5)]
        receipts = await (await producer.send_many(topic, records, PATIENCE_S)).result(PATIENCE_S)
        assert [receipt.timestamp_ms - 1_700_000_000_000 for receipt in receipts] == list(range(5))
        assert [receipt.offset for receipt in receipts] == list(range(5))

    stage(scene)


def test_a_refused_record_is_certain_and_harms_none_after_it(stage):
    """The broker refuses a record without a key in a compacted topic; aiokafka has no class for that
    code, and would go on counting sequence numbers."""

    async def scene(place):
        topic = await place.topic(is_compacted=True)
        producer = await place.producer()
        for number in range(5):
            refused = await place.send(producer, topic, b"without a key")
            with pytest.raises(BackendError):
                await refused.result(PATIENCE_S)
            assert refused.outcome is Outcome.FAILED
            stored = await place.send(producer, topic, b"v", key=b"k")
            assert (await stored.result(PATIENCE_S)).offset == number

    stage(scene)


def test_a_record_of_nothing_is_a_record(stage):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer()
        await (await place.send(producer, topic, None, headers=(("h", None), ("h", b"")))).result(PATIENCE_S)
        reader = await place.consumer(topic)
        [record] = await reader.poll(10, PATIENCE_S)
        assert (record.key, record.value, record.headers) == (None, None, (("h", None), ("h", b"")))

    stage(scene)


def test_records_keep_the_order_of_the_calls_through_a_full_buffer(stage):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer(buffer_records=3)
        values = [b"%d" % number for number in range(200)]
        deliveries = await asyncio.gather(*(place.send(producer, topic, value) for value in values))
        receipts = [await delivery.result(PATIENCE_S) for delivery in deliveries]
        assert [receipt.offset for receipt in receipts] == list(range(200))

    stage(scene)


def test_records_without_a_key_reach_every_partition(stage):
    async def scene(place):
        topic = await place.topic(3)
        producer = await place.producer()
        partitions = set()

        async def send():
            partitions.add((await (await place.send(producer, topic)).result(PATIENCE_S)).partition)

        await place.wait_for(lambda: partitions == {0, 1, 2}, "a record in every partition", send)

    stage(scene)


def test_flush_waits_for_no_linger(stage):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer(linger_ms=60_000.0)
        delivery = await place.send(producer, topic)
        await producer.flush(PATIENCE_S)
        assert delivery.outcome is Outcome.ACKNOWLEDGED

    stage(scene)


def test_a_delivery_that_nobody_looks_at_leaves_no_complaint(stage):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer()
        await place.send(producer, place.name("nowhere"))
        await place.send(producer, topic, bytes(2 * 1024 * 1024))
        await producer.flush(PATIENCE_S)

    stage(scene)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compression_is_refused_in_one_sentence_or_works(stage, compression):
    from streamproof.errors import ConfigurationError

    async def scene(place):
        topic = await place.topic()
        try:
            producer = await place.producer(compression=compression)
        except ConfigurationError:
            return
        many = [Outgoing(b"x" * 500)] * 50
        await (await producer.send_many(topic, many, PATIENCE_S)).result(PATIENCE_S)
        reader = await place.consumer(topic)
        assert {record.value for record in await reader.poll(50, PATIENCE_S)} == {b"x" * 500}

    stage(scene)
