"""Stored progress: by commit, while polling, on close; asked for, heard of, moved on purpose."""

import time
from collections.abc import Mapping

import pytest

from streamproof import ConsumerObserver, StreamproofError, TopicPartition, Unsupported, UsageError
from streamproof_harness.conformance._async.stage import AsyncStage, case, logs_of, numbered, offset_of


class CommitListener(ConsumerObserver):
    """Keeps what a consumer tells of its commits."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def commit_begins(self, generation: int | None, offsets: Mapping[TopicPartition, int]) -> None:
        self.heard.append(("begins", generation, dict(offsets)))

    def commit_ends(self, error: StreamproofError | None) -> None:
        self.heard.append(("ends", error))


class AsyncCommitting(AsyncStage):
    """See the module's docstring. Where each message is acknowledged on its own there is nothing to
    store, and asking for offsets is refused."""

    @case
    async def test_progress_is_stored_when_commit_returns(self) -> None:
        topic, group = await self.topic(), self.name()
        listener = CommitListener()
        member = await self.member(topic, group=group, commit_interval_s=None, observer=listener)
        await self.send(topic, *numbered(5))
        records = await self.read(member, 5)
        await member.ack(records[:3])
        await member.commit()
        if self.can.acknowledgement == "message":
            assert listener.heard == []
            return
        [log] = logs_of(topic, 1)
        following = offset_of(records[2]) + 1
        assert await member.committed() == await member.committed(log) == {log: following}
        assert listener.heard == [("begins", member.generation, {log: following}), ("ends", None)]
        await member.commit()
        assert len(listener.heard) == 2, "there is nothing new to store"

    @case
    async def test_nothing_is_stored_before_it_is_acknowledged(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name(), commit_interval_s=0.01)
        await self.send(topic, *numbered(5))
        await self.read(member, 5)
        await member.commit()
        await member.poll(timeout_s=0.1)
        if self.can.has_group_offsets:
            assert set((await member.committed()).values()) == {None}

    @case
    async def test_progress_is_stored_while_polling(self) -> None:
        if not self.can.has_group_offsets:
            return
        topic = await self.topic()
        member = await self.member(topic, group=self.name(), commit_interval_s=0.05)
        await self.send(topic, *numbered(5))
        records = await self.read(member, 5)
        await member.ack(records)
        [log] = logs_of(topic, 1)
        deadline = time.monotonic() + self.patience_s
        while (await member.committed())[log] != offset_of(records[-1]) + 1:
            assert time.monotonic() < deadline, "progress is not stored while polling"
            await member.poll(timeout_s=0.05)

    @case
    async def test_without_an_interval_it_is_stored_on_close(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group, commit_interval_s=None)
        await self.send(topic, *numbered(5))
        await first.ack(await self.read(first, 5))
        await first.poll(timeout_s=0.05)
        if self.can.has_group_offsets:
            assert set((await first.committed()).values()) == {None}
        await first.close(self.patience_s)
        second = await self.member(topic, group=group)
        await self.send(topic, b"last")
        assert await self.read_to(second, b"last") == [b"last"]

    @case
    async def test_chosen_offsets_are_stored_also_backwards(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(5))
        records = await self.read(first, 5)
        await first.ack(records)
        [log] = logs_of(topic, 1)
        if not self.can.has_group_offsets:
            with pytest.raises(Unsupported):
                await first.commit({log: 2})
            with pytest.raises(Unsupported):
                await first.committed()
            return
        await first.commit()
        await first.commit({log: offset_of(records[2])})
        assert await first.committed() == {log: offset_of(records[2])}
        await first.close(self.patience_s)
        second = await self.member(topic, group=group)
        assert await self.read_to(second, b"4") == [b"2", b"3", b"4"]

    @case
    async def test_offsets_that_cannot_be_are_refused(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        if not self.can.has_group_offsets:
            return
        for wrong in ({("t", 0): -1}, {("t", 0): "5"}, {"t": 5}, [5]):
            with pytest.raises(UsageError):
                await member.commit(wrong)  # type: ignore[arg-type]
