"""Several tasks at once, cancellation, and a loop that others need too. ``_sync`` has its own twin."""

import asyncio
import random

import pytest

from streamproof import AsyncConsumer, Closed
from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered


class AsyncConcurrency(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_cancelled_polls_lose_nothing(self) -> None:
        topic = await self.topic(partitions=2)
        member = await self.member(topic, group=self.name(), commit_interval_s=0.002)
        await member.wait_assigned(self.patience_s)
        producer = await self.producer(linger_ms=0.0)

        async def send_slowly() -> None:
            for start in range(0, 300, 3):
                for value in numbered(3, start=start):
                    delivery = await producer.send(topic, value, key=value[-1:])
                await delivery.result(self.patience_s)
                await asyncio.sleep(0.002)  # so that many polls find a few records each

        sending = asyncio.create_task(send_slowly())
        values = await self._read_and_cancel(member, 300)
        await sending
        assert sorted(values) == sorted(numbered(300))
        for last_digit in range(10):
            lane = [value for value in values if value[-1:] == b"%d" % last_digit]
            assert lane == sorted(lane, key=int)

    async def _read_and_cancel(self, member: AsyncConsumer[bytes, bytes], count: int) -> list[bytes]:
        moments = random.Random(7)
        values: list[bytes] = []
        deadline = asyncio.get_running_loop().time() + self.patience_s
        while len(values) < count and asyncio.get_running_loop().time() < deadline:
            poll = asyncio.create_task(member.poll(max_records=3, timeout_s=0.2))
            if moments.random() < 0.8:
                for _ in range(moments.randrange(6)):
                    await asyncio.sleep(0)
                await asyncio.sleep(moments.choice([0, 0, 0.001, 0.005]))
                poll.cancel()
            try:
                records = await poll
            except asyncio.CancelledError:
                continue
            values.extend(record.value for record in records)
            await member.ack(records)
        return values

    @case
    async def test_close_wakes_a_waiting_poll(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        poll = asyncio.create_task(member.poll(timeout_s=10 * self.patience_s))
        await asyncio.sleep(0.05)
        assert not poll.done()
        await member.close(self.patience_s)
        done, _ = await asyncio.wait([poll], timeout=self.patience_s)
        assert done == {poll}
        with pytest.raises(Closed):
            poll.result()

    @case
    async def test_close_ends_an_iteration(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, *numbered(3))
        values: list[bytes] = []
        came = asyncio.Event()

        async def iterate() -> None:
            async for record in member:
                values.append(record.value)
                if len(values) == 3:
                    came.set()

        iteration = asyncio.create_task(iterate())
        await asyncio.wait_for(came.wait(), self.patience_s)
        await member.close(self.patience_s)
        await asyncio.wait_for(iteration, self.patience_s)
        assert values == numbered(3)

    @case
    async def test_others_run_while_a_poll_waits(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        poll = asyncio.create_task(member.poll(timeout_s=0.5))
        turns = 0
        while not poll.done():
            await asyncio.sleep(0.005)
            turns += 1
        assert await poll == []
        assert turns >= 10, "the event loop was blocked"

    @case
    async def test_tasks_share_a_producer(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer(buffer_records=20)

        async def send(name: bytes) -> None:
            for value in numbered(50):
                await producer.send(topic, value, key=name)

        names = [b"a", b"b", b"c", b"d"]
        await asyncio.gather(*map(send, names))
        await producer.flush(self.patience_s)
        records = await self.read(reader, 200)
        for name in names:
            assert [record.value for record in records if record.key == name] == numbered(50)

    @case
    async def test_acks_come_from_other_tasks(self) -> None:
        topic, group = await self.topic(), self.name()
        member = await self.member(topic, group=group)
        await self.send(topic, *numbered(50))
        records = await self.read(member, 50)
        await asyncio.gather(*(member.ack(record) for record in reversed(records)))
        await member.close(self.patience_s)
        await self.send(topic, b"last")
        assert await self.read_to(await self.member(topic, group=group), b"last") == [b"last"]

    @case
    async def test_a_delivery_is_awaited_by_several_and_survives_a_cancelled_one(self) -> None:
        topic = await self.topic()
        producer = await self.producer(linger_ms=50.0)
        delivery = await producer.send(topic, b"v")
        waiting = [asyncio.create_task(delivery.result(self.patience_s)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        receipt = await asyncio.wait_for(delivery, self.patience_s)
        assert await asyncio.gather(*waiting[1:]) == [receipt, receipt]
        assert (receipt.topic, receipt.partition) == (topic, 0)
