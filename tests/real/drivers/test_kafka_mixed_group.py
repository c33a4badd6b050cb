"""One Kafka group with members of both colours."""

import asyncio
import uuid

import pytest

import streamproof

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(kafka_url):
    name = f"mixed-{uuid.uuid4().hex[:12]}"
    with streamproof.connect(kafka_url) as bus:
        bus.admin().create_topic(name, 4)
        yield name
        bus.admin().delete_topics(name)


async def share(url, blocking, topic):
    """Poll both members until the work is shared."""
    async with await streamproof.aconnect(url) as bus:
        coroutine = await bus.consumer(topic, group=topic)
        async with asyncio.timeout(60):
            while len(coroutine.assignment()) != 2 or len(blocking.assignment()) != 2:
                await asyncio.to_thread(blocking.poll, 10, 0.1)
                await coroutine.poll(10, 0.1)
            return set(coroutine.assignment()) | set(blocking.assignment())


def test_members_of_both_colours_share_a_group_with_an_assignor_in_common(kafka_url, topic):
    joint = "&" if "?" in kafka_url else "?"
    url = f"{kafka_url}{joint}partition.assignment.strategy=range"
    with streamproof.connect(url) as bus, bus.consumer(topic, group=topic) as blocking:
        blocking.wait_assigned()
        held = asyncio.run(share(url, blocking, topic))
    assert held == {streamproof.TopicPartition(topic, partition) for partition in range(4)}


def test_without_one_the_second_is_told(kafka_url, topic):
    with streamproof.connect(kafka_url) as bus, bus.consumer(topic, group=topic) as blocking:
        blocking.wait_assigned()
        with pytest.raises(streamproof.ConfigurationError, match="same protocol and assignment strategy"):
            asyncio.run(share(kafka_url, blocking, topic))
