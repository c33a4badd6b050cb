"""Pause and resume, empty polls, positions and lag."""

import pytest

from streamproof import AsyncConsumer, TopicPartition, UsageError
from streamproof_harness.conformance._async.stage import (
    AsyncStage,
    case,
    logs_of,
    numbered,
    offset_of,
    values_of,
)


class AsyncFlowing(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_a_paused_log_gives_nothing_while_the_others_go_on(self) -> None:
        topic = await self.topic(partitions=2)
        member = await self.member(topic, group=self.name())
        await self.send(topic, *numbered(30), partition=0)
        records = await member.poll(max_records=1, timeout_s=self.patience_s)
        assert [record.value for record in records] == [b"0"]
        await member.pause(TopicPartition(topic, 0))
        for start in range(100, 130, 10):
            await self.send(topic, b"more", partition=0)
            await self.send(topic, *numbered(10, start=start), partition=1)
            values = await self.read_to(member, b"%d" % (start + 9))
            assert values == numbered(10, start=start)
        await member.resume(TopicPartition(topic, 0))
        assert await self.read_to(member, b"29", b"more") == [
            *numbered(29, start=1),
            b"more",
            b"more",
            b"more",
        ]

    @case
    async def test_pause_and_resume_lose_and_skip_nothing(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        values: list[bytes] = []
        for start in range(0, 100, 20):
            await self.send(topic, *numbered(20, start=start))
            while len(values) < start + 5:
                records = await member.poll(max_records=3, timeout_s=self.patience_s)
                values.extend(record.value for record in records)
                await member.ack(records)
            await member.pause()
            assert await member.poll(timeout_s=0.05) == []
            await member.resume()
        taken = await self.take_turns([member], lambda taken: len(values) + len(taken) >= 100)
        assert values + values_of(taken) == numbered(100)

    @case
    async def test_what_is_given_back_waits_while_its_log_is_paused(self) -> None:
        topic = await self.topic(partitions=2)
        member = await self.member(topic, group=self.name())
        await self.send(topic, b"paused", partition=0)
        [record] = await self.read(member, 1)
        await member.pause(TopicPartition(topic, 0))
        await member.nack(record)
        await self.send(topic, b"other", partition=1)
        assert await self.read_to(member, b"other") == [b"other"]
        await member.resume(TopicPartition(topic, 0))
        assert await self.read_to(member, b"paused") == [b"paused"]

    @case
    async def test_a_poll_without_records_ends_empty(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        for timeout_s in (0, 0.05, -1):
            assert await member.poll(timeout_s=timeout_s) == []
        await self.send(topic, b"v")
        assert await self.read_to(member, b"v") == [b"v"]

    @case
    async def test_a_number_of_records_that_cannot_be_is_refused(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        for wrong in (0, -1, 1.5, "7", None):
            with pytest.raises(UsageError):
                await reader.poll(max_records=wrong, timeout_s=0)  # type: ignore[arg-type]

    @case
    async def test_the_position_is_the_next_offset_to_come(self) -> None:
        topic = await self.topic()
        [log] = logs_of(topic, 1)
        await self.send(topic, *numbered(10))
        for consumer in await self._with_offsets(topic):
            offsets: list[int] = []
            while len(offsets) < 10:
                if offsets:
                    assert await consumer.position(log) == offsets[-1] + 1
                records = await consumer.poll(max_records=3, timeout_s=self.patience_s)
                offsets.extend(offset_of(record) for record in records)
            assert await consumer.position(log) == offsets[-1] + 1
            assert await consumer.position(log) == offsets[0] + 10

    @case
    async def test_the_lag_is_what_is_still_to_come(self) -> None:
        topic = await self.topic(partitions=2)
        first, second = logs_of(topic, 2)
        await self.send(topic, *numbered(10), partition=0)
        for number, consumer in enumerate(await self._with_offsets(topic)):
            taken = 0
            while taken < 10 + number:
                taken += len(await consumer.poll(max_records=4, timeout_s=self.patience_s))
                assert await consumer.lag(first) == {first: 10 + number - taken}
            assert await consumer.lag() == {first: 0, second: 0}
            await self.send(topic, b"one more", partition=0)
            assert await consumer.lag() == {first: 1, second: 0}

    async def _with_offsets(self, topic: str) -> list[AsyncConsumer[bytes, bytes]]:
        consumers = []
        if self.can.has_group_offsets:
            consumers.append(await self.member(topic, group=self.name()))
        if self.can.can_replay:
            consumers.append(await self.reader(topic))
        for consumer in consumers:
            await consumer.wait_assigned(self.patience_s)
        return consumers
