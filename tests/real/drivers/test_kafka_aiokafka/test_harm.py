"""A private broker that hangs, dies and comes back."""

import asyncio
from contextlib import suppress

import pytest

from streamproof.deliveries import Outcome
from streamproof.errors import BufferFull, TimedOut, Unreachable
from streamproof.records import Outgoing, TopicPartition

PATIENCE_S = 60.0


@pytest.fixture
def broker(start_private):
    """A Kafka that the test may harm."""
    return start_private("kafka")


def test_a_broker_that_hangs_makes_sends_unknown_and_every_wait_end(broker, play_on):
    async def scene(place):
        topic = await place.topic()
        producer = await place.producer(delivery_timeout_s=8.0, buffer_records=50)
        group_reader = await place.consumer(topic, group=place.name("group"))
        await (await place.send(producer, topic)).result(PATIENCE_S)
        await place.wait_for(group_reader.assignment, "an assignment", lambda: group_reader.poll(1, 0.1))
        await asyncio.to_thread(broker.pause)
        try:
            sent = await place.send(producer, topic, b"sent")
            many = await producer.send_many(topic, [Outgoing(b"%d" % number) for number in range(80)], 0.2)
            assert isinstance(many[79].error, BufferFull)
            with pytest.raises(BufferFull):
                await producer.send(topic, b"more", None, (), None, None, 0.2)
            with pytest.raises(TimedOut):
                await producer.flush(0.2)
            await place.wait_for(lambda: sent.is_settled and many.is_settled, "outcomes")
            assert sent.outcome is Outcome.UNKNOWN
            assert {delivery.outcome for delivery in many} <= {Outcome.UNKNOWN, Outcome.FAILED}
            with pytest.raises((TimedOut, Unreachable)):
                await group_reader.commit({TopicPartition(topic, 0): 1}, 0.5)
            with pytest.raises((TimedOut, Unreachable)):
                await place.admin.list_topics(0.5)
            async with asyncio.timeout(PATIENCE_S):
                await producer.close(1.0)
                await group_reader.close(1.0)
        finally:
            await asyncio.to_thread(broker.resume)

    play_on(broker.url, scene)


def test_what_was_acknowledged_is_there_after_a_broker_died(broker, play_on):
    async def scene(place):
        topic, group = await place.topic(2), place.name("group")
        producer = await place.producer()
        reader = await place.consumer(topic, group=group)
        await place.wait_for(reader.assignment, "an assignment", lambda: reader.poll(1, 0.1))
        deliveries = [await place.send(producer, topic, b"%d" % number) for number in range(200)]
        await asyncio.to_thread(broker.kill)
        await place.send(producer, topic, b"while it is dead", partition=0)
        await asyncio.to_thread(broker.restart)
        deliveries += [await place.send(producer, topic, b"%d" % number) for number in range(200, 300)]
        await producer.flush(PATIENCE_S)
        stored = [n for n, delivery in enumerate(deliveries) if delivery.outcome is Outcome.ACKNOWLEDGED]
        assert set(range(200, 300)) <= set(stored)
        found = []

        async def poll():
            # It may complain while the coordinator comes back.
            with suppress(Unreachable, TimedOut):
                found.extend(record.value for record in await reader.poll(100, 0.2))

        await place.wait_for(
            lambda: {b"%d" % number for number in stored} <= set(found), "every acknowledged record", poll
        )
        assert len(found) == len(set(found))

    play_on(broker.url, scene)
