"""The end: closing twice, everything closed, nothing left running; and bad addresses."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamproof import (
    Closed,
    ConfigurationError,
    StreamproofError,
    TopicPartition,
    Unreachable,
)
from streamproof_harness.conformance._async.colour import nap_s, running
from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered


class AsyncClosing(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_closing_twice_does_nothing(self) -> None:
        topic = await self.topic()
        bus = await self.another_bus()
        consumer = await bus.consumer(topic, group=self.name(), **self.group_options)
        producer = await bus.producer()
        for part in (consumer, producer, bus):
            await part.close(timeout_s=self.patience_s)
            await part.close(timeout_s=self.patience_s)

    @case
    async def test_a_closed_producer_says_so(self) -> None:
        topic = await self.topic()
        producer = await self.bus.producer()
        assert not producer.is_closed
        await producer.close()
        assert producer.is_closed
        with pytest.raises(Closed):
            await producer.send(topic, b"v")
        with pytest.raises(Closed):
            await producer.send_many(topic, [b"v"])
        with pytest.raises(Closed):
            await producer.flush()

    @case
    async def test_a_closed_consumer_says_so(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, b"v")
        [record] = await self.read(member, 1)
        assert not member.is_closed
        await member.close(self.patience_s)
        assert member.is_closed
        log = TopicPartition(topic, 0)
        verbs: tuple[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]], ...] = (
            (member.poll, ()),
            (member.ack, (record,)),
            (member.nack, (record,)),
            (member.commit, ()),
            (member.committed, ()),
            (member.seek, (0,)),
            (member.pause, ()),
            (member.resume, ()),
            (member.position, (log,)),
            (member.lag, ()),
            (member.wait_assigned, ()),
        )
        for verb, arguments in verbs:
            with pytest.raises(Closed):
                await verb(*arguments)

    @case
    async def test_closing_the_bus_closes_its_parts_and_keeps_progress(self) -> None:
        topic, group = await self.topic(), self.name()
        bus = await self.another_bus()
        producer = await bus.producer(linger_ms=20.0)
        consumer = await bus.consumer(topic, group=group, **self.group_options)
        deliveries = [await producer.send(topic, value) for value in numbered(5)]
        await consumer.ack((await self.read(consumer, 5))[:3])
        await bus.close(self.patience_s)
        assert producer.is_closed
        assert consumer.is_closed
        assert all(delivery.receipt for delivery in deliveries)
        with pytest.raises(Closed):
            await bus.producer()
        with pytest.raises(Closed):
            await bus.consumer(topic)
        with pytest.raises(Closed):
            await bus.admin()
        member = await self.member(topic, group=group)
        assert await self.read_to(member, b"4") == [b"3", b"4"]

    @case
    async def test_a_with_block_closes(self) -> None:
        topic = await self.topic()
        async with await self.connect() as bus:
            async with await bus.producer() as producer:
                await producer.send(topic, b"v")
            async with await bus.consumer(topic, group=self.name(), **self.group_options) as consumer:
                assert await self.read_to(consumer, b"v") == [b"v"]
            assert producer.is_closed
            assert consumer.is_closed
        with pytest.raises(Closed):
            await bus.producer()

    @case
    async def test_nothing_is_left_running(self) -> None:
        topic = await self.topic()
        await self.send(topic, b"v")
        before = running()
        bus = await self.connect()
        producer = await bus.producer()
        consumer = await bus.consumer(topic, group=self.name(), **self.group_options)
        await producer.send(topic, b"w")
        await self.read_to(consumer, b"w")
        await (await bus.admin()).list_topics()
        await bus.close(self.patience_s)
        deadline = time.monotonic() + self.patience_s
        while running() - before and time.monotonic() < deadline:
            await nap_s(0.01)
        assert running() - before == set()

    @case
    async def test_a_consumer_that_could_not_start_leaves_nothing_behind(self) -> None:
        before = running()
        for _ in range(3):
            with pytest.raises(StreamproofError):
                await self.bus.consumer(self.name("nowhere"), group=self.name(), **self.group_options)
        deadline = time.monotonic() + self.patience_s
        while len(running()) > len(before) and time.monotonic() < deadline:
            await nap_s(0.01)
        assert len(running()) <= len(before)

    @case
    async def test_an_unknown_option_of_the_url_is_refused(self) -> None:
        if not self.url:
            return
        mark = "&" if "?" in self.url else "?"
        with pytest.raises(ConfigurationError, match="streamproof_nonsense"):
            await self.connect(f"{self.url}{mark}streamproof_nonsense=1")

    @case
    async def test_nobody_at_home_is_unreachable(self) -> None:
        if self.unreachable_url is None:
            return
        with pytest.raises(Unreachable) as caught:
            await self.connect(self.unreachable_url, timeout_s=2.0)
        assert caught.value.retriable
