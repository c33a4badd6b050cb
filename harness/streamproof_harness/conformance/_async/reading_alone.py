"""Reading without a group: everything, from where one likes, leaving no trace. And iterating."""

import pytest

from streamproof import Unsupported, UsageError
from streamproof_harness.conformance._async.stage import AsyncStage, case, logs_of, numbered


class AsyncReadingAlone(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_it_needs_a_log(self) -> None:
        topic = await self.topic()
        if self.can.can_replay:
            consumer = await self.reader(topic)
            assert list(consumer.assignment()) == logs_of(topic, 1)
        else:
            with pytest.raises(Unsupported):
                await self.bus.consumer(topic)

    @case
    async def test_a_reader_holds_every_log_at_once(self) -> None:
        if not self.can.can_replay:
            return
        topics = [await self.topic(partitions=3), await self.topic()]
        await self.send(topics[0], *numbered(30))
        await self.send(topics[1], *numbered(5, start=30))
        reader = await self.reader(*topics)
        assert list(reader.assignment()) == sorted([*logs_of(topics[0], 3), *logs_of(topics[1], 1)])
        assert sorted(r.value for r in await self.read(reader, 35)) == sorted(numbered(35))

    @case
    async def test_readers_do_not_share(self) -> None:
        if not self.can.can_replay:
            return
        topic = await self.topic()
        await self.send(topic, *numbered(10))
        for _ in range(2):
            reader = await self.reader(topic)
            assert [record.value for record in await self.read(reader, 10)] == numbered(10)

    @case
    async def test_a_reader_keeps_no_progress(self) -> None:
        if not self.can.can_replay:
            return
        topic = await self.topic()
        await self.send(topic, *numbered(3))
        reader = await self.reader(topic)
        records = await self.read(reader, 3)
        await reader.ack(records)
        with pytest.raises(UsageError):
            await reader.commit()
        with pytest.raises(UsageError):
            await reader.committed()
        with pytest.raises(UsageError):
            await reader.nack(records[0])
        await reader.close(self.patience_s)
        again = await self.reader(topic)
        assert [record.value for record in await self.read(again, 3)] == numbered(3)

    @case
    async def test_iterating_acknowledges_what_was_handled(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(6))
        values = []
        async for record in first:
            values.append(record.value)
            if len(values) == 4:
                break
        assert values == numbered(4)
        await first.close(self.patience_s)
        await self.send(topic, b"last")
        second = await self.member(topic, group=group)
        assert await self.read_to(second, b"last") == [b"3", b"4", b"5", b"last"]

    @case
    async def test_iterating_ends_when_nothing_comes(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        await self.send(topic, *numbered(3))
        await self.take_turns([member], lambda taken: len(taken) >= 3)
        async for record in member.stream(idle_timeout_s=0.1):
            raise AssertionError(f"{record.value} came twice")

    @case
    async def test_what_the_loop_gave_back_is_not_acknowledged(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, *numbered(3))
        seen: list[tuple[bytes, int]] = []
        async for record in member:
            seen.append((record.value, record.attempt))
            if record.value == b"1" and record.attempt < 3:
                await member.nack(record)
            if record.value == b"2" or len(seen) > 9:
                break
        assert seen == [(b"0", 1), (b"1", 1), (b"1", 2), (b"1", 3), (b"2", 1)]
