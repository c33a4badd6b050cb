"""Groups: work is shared, members come and go, nothing is lost and nothing handled comes again."""

from collections.abc import Mapping, Sequence

import pytest

from streamproof import AsyncConsumer, ConsumerObserver, NotAssigned, TimedOut, TopicPartition
from streamproof_harness.conformance._async.stage import (
    AsyncStage,
    Taken,
    case,
    logs_of,
    numbered,
    values_of,
)


class Listener(ConsumerObserver):
    """Keeps what a consumer tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int | None, list[TopicPartition]]] = []

    def assigned(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        self.heard.append(("assigned", generation, sorted(partitions)))

    def revoked(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self.heard.append(("revoked", generation, sorted(partitions)))

    def lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        self.heard.append(("lost", generation, sorted(partitions)))


class AsyncGroups(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_members_share_the_work(self) -> None:
        topic, group = await self.topic(partitions=4), self.name()
        members = [await self.member(topic, group=group) for _ in range(2)]
        taken = await self.share(members, topic, 4)
        for partition in range(4):
            await self.send(topic, *numbered(10, start=10 * partition), partition=partition)
        taken += await self.take_turns(members, lambda now: len(taken) + len(now) >= 40)
        assert sorted(values_of(taken)) == sorted(numbered(40))
        owners = {(record.partition, index) for index, record in taken}
        assert len(owners) == 4, "each log is read by one member"
        assert {index for _, index in owners} == {0, 1}

    @case
    async def test_a_member_that_joins_gets_its_share_and_nothing_is_lost_or_doubled(self) -> None:
        topic, group = await self.topic(partitions=3), self.name()
        members = [await self.member(topic, group=group)]
        taken = await self._sent_and_taken(topic, 0, members)
        members.append(await self.member(topic, group=group))
        producer = await self.producer()
        for value in numbered(30, start=30):
            await producer.send(topic, value, key=value)
        taken += await self.share(members, topic, 3)
        taken += await self.take_turns(members, lambda now: len(taken) + len(now) >= 60)
        taken += await self._sent_and_taken(topic, 60, members)
        assert sorted(values_of(taken)) == sorted(numbered(90))

    @case
    async def test_a_member_that_leaves_hands_its_logs_over_and_nothing_is_lost_or_doubled(self) -> None:
        topic, group = await self.topic(partitions=3), self.name()
        members = [await self.member(topic, group=group) for _ in range(2)]
        taken = await self.share(members, topic, 3)
        taken += await self._sent_and_taken(topic, 0, members)
        await members.pop(0).close(self.patience_s)
        await self.send(topic, *numbered(30, start=30))
        taken += await self.share(members, topic, 3)
        taken += await self.take_turns(members, lambda now: len(taken) + len(now) >= 60)
        assert sorted(values_of(taken)) == sorted(numbered(60))

    async def _sent_and_taken(
        self, topic: str, start: int, members: Sequence[AsyncConsumer[bytes, bytes]]
    ) -> Taken:
        producer = await self.producer()
        for value in numbered(30, start=start):
            await producer.send(topic, value, key=value)
        await producer.flush(self.patience_s)
        return await self.take_turns(members, lambda taken: len(taken) >= 30)

    @case
    async def test_a_group_goes_on_where_it_stopped(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(10))
        taken = await self.take_turns([first], lambda taken: len(taken) >= 10)
        await first.close(self.patience_s)
        await self.send(topic, *numbered(10, start=10))
        second = await self.member(topic, group=group)
        taken += await self.take_turns([second], lambda now: len(taken) + len(now) >= 20)
        assert values_of(taken) == numbered(20)

    @case
    async def test_what_was_not_acknowledged_comes_again_to_the_next_member(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(10))
        records = await self.read(first, 10)
        await first.ack(records[:4])
        await first.close(self.patience_s)
        second = await self.member(topic, group=group)
        await self.send(topic, b"last")
        assert await self.read_to(second, b"last") == [*numbered(6, start=4), b"last"]

    @case
    async def test_two_groups_get_everything_each(self) -> None:
        topic = await self.topic(partitions=2)
        members = [await self.member(topic, group=self.name()) for _ in range(2)]
        await self.send(topic, *numbered(20))
        for member in members:
            taken = await self.take_turns([member], lambda taken: len(taken) >= 20)
            assert sorted(values_of(taken)) == sorted(numbered(20))

    @case
    async def test_a_group_reads_several_topics(self) -> None:
        topics = [await self.topic(), await self.topic(partitions=2)]
        member = await self.member(*topics, group=self.name())
        for topic in topics:
            await self.send(topic, *numbered(5))
        taken = await self.take_turns([member], lambda taken: len(taken) >= 10)
        assert list(member.assignment()) == sorted([*logs_of(topics[0], 1), *logs_of(topics[1], 2)])
        for topic in topics:
            found = [record.value for _, record in taken if record.topic == topic]
            assert sorted(found) == sorted(numbered(5))

    @case
    async def test_a_member_without_a_log_waits_in_vain_until_one_is_free(self) -> None:
        topic, group = await self.topic(), self.name()
        members = [await self.member(topic, group=group) for _ in range(2)]
        await self.take_turns(members, lambda _: sorted(len(m.assignment()) for m in members) == [0, 1])
        members.sort(key=lambda member: len(member.assignment()))
        idle, busy = members
        with pytest.raises(TimedOut):
            await idle.wait_assigned(0.3)
        await busy.close(self.patience_s)
        assert list(await idle.wait_assigned(self.patience_s)) == logs_of(topic, 1)

    @case
    async def test_an_observer_hears_of_every_change(self) -> None:
        topic, group, listener = await self.topic(partitions=2), self.name(), Listener()
        first = await self.member(topic, group=group, observer=listener)
        await first.wait_assigned(self.patience_s)
        assert listener.heard[-1] == ("assigned", first.generation, logs_of(topic, 2))
        before = first.generation
        second = await self.member(topic, group=group)
        await self.share([first, second], topic, 2)
        assert {what for what, _, _ in listener.heard} == {"assigned", "revoked"}
        assert listener.heard[-1] == ("assigned", first.generation, list(first.assignment()))
        if self.can.has_generations:
            assert before is not None
            assert first.generation is not None
            assert first.generation > before
        else:
            assert first.generation is None
        held = list(first.assignment())
        await first.close(self.patience_s)
        what, _, partitions = listener.heard[-1]
        assert (what, partitions) == ("revoked", held)

    @case
    async def test_an_ack_for_a_log_that_went_away_is_refused(self) -> None:
        topic, group = await self.topic(partitions=2), self.name()
        first = await self.member(topic, group=group)
        for partition in range(2):
            await self.send(topic, b"%d" % partition, partition=partition)
        records = await self.read(first, 2)
        second = await self.member(topic, group=group)
        members = [first, second]

        def is_shared(_: Taken) -> bool:
            held = [member.assignment() for member in members]
            return all(held) and sorted(held[0] + held[1]) == logs_of(topic, 2)

        taken = await self.take_turns(members, is_shared)
        [gone] = [record for record in records if record.topic_partition not in first.assignment()]
        with pytest.raises(NotAssigned):
            await first.ack(gone)
        with pytest.raises(NotAssigned):
            await first.nack(gone)
        is_there = [record.value for index, record in taken if index == 1]
        if gone.value not in is_there:
            await self.read_to(second, gone.value)
