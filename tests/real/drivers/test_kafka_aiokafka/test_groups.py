"""Groups on a real broker: rebalances that wait for a poll, memberships that end."""

import asyncio

import pytest

from streamproof.errors import NotAssigned
from streamproof.records import TopicPartition

PATIENCE_S = 30.0
SESSION_S = 6.0


async def joined(place, consumer, ear):
    await place.wait_for(lambda: ear.said("assign"), "an assignment", lambda: consumer.poll(1, 0.1))


def logs(topic, count):
    return tuple(TopicPartition(topic, index) for index in range(count))


def test_a_rebalance_waits_for_a_poll_and_the_listener_can_commit(stage, ear_type):
    async def scene(place):
        topic, group = await place.topic(4), place.name("group")
        first_ear, second_ear = ear_type(), ear_type()
        first = await place.consumer(topic, group=group, ear=first_ear)
        await joined(place, first, first_ear)
        first_ear.during_revoke = lambda going: first.commit(dict.fromkeys(going, 0), PATIENCE_S)
        second = await place.consumer(topic, group=group, ear=second_ear)
        polled = asyncio.ensure_future(second.poll(1, 3.0))
        await place.wait_for(lambda: first._handover.is_revoking, "the rebalance to reach the first member")
        # Nothing is told, and nothing goes on, before the first member polls.
        assert first_ear.said("revoke") == []
        assert second_ear.heard == []
        assert first.assignment() == logs(topic, 4)

        async def both():
            await asyncio.gather(first.poll(1, 0.1), second.poll(1, 0.1))

        await polled
        await place.wait_for(
            lambda: len(first.assignment()) == len(second.assignment()) == 2, "each to hold two logs", both
        )
        assert first_ear.said("revoke")[0][1] == logs(topic, 4)
        assert first_ear.said("lost") == second_ear.said("lost") == []
        assert set(first.assignment()) | set(second.assignment()) == set(logs(topic, 4))
        generations = [generation for generation, _ in first_ear.said("assign")]
        assert generations == sorted(set(generations))
        assert await second.committed(logs(topic, 4), PATIENCE_S) == dict.fromkeys(logs(topic, 4), 0)

    stage(scene)


def test_who_does_not_poll_in_time_loses_all_and_cannot_commit(stage, ear_type):
    async def scene(place):
        topic, group, ear = await place.topic(2), place.name("group"), ear_type()
        consumer = await place.consumer(topic, group=group, ear=ear, max_poll_interval_s=SESSION_S)
        await joined(place, consumer, ear)
        await place.wait_for(lambda: consumer._generation() < 0, "the membership to end for want of a poll")
        with pytest.raises(NotAssigned):
            await consumer.commit({TopicPartition(topic, 0): 0}, PATIENCE_S)
        await place.wait_for(lambda: len(ear.heard) >= 3, "a new assignment", lambda: consumer.poll(1, 0.1))
        assert [word for word, _, _ in ear.heard] == ["assign", "lost", "assign"]
        assert ear.said("lost")[0][1] == logs(topic, 2)
        await consumer.commit({TopicPartition(topic, 0): 0}, PATIENCE_S)

    stage(scene)


def test_a_member_put_out_by_the_group_is_told_that_its_logs_are_lost(stage, ear_type):
    async def scene(place):
        topic, group, ear = await place.topic(2), place.name("group"), ear_type()
        consumer = await place.consumer(topic, group=group, ear=ear)
        await joined(place, consumer, ear)
        await place.admin.leave(group, consumer.native._coordinator.member_id, PATIENCE_S)
        with pytest.raises(NotAssigned):
            await consumer.commit({TopicPartition(topic, 0): 1}, PATIENCE_S)
        await place.wait_for(lambda: len(ear.heard) >= 3, "a new assignment", lambda: consumer.poll(1, 0.1))
        assert [word for word, _, _ in ear.heard] == ["assign", "lost", "assign"]
        assert await consumer.committed(logs(topic, 1), PATIENCE_S) == {TopicPartition(topic, 0): None}

    stage(scene)


def test_closing_while_a_rebalance_waits_gives_the_logs_up_in_order(stage, ear_type):
    async def scene(place):
        topic, group = await place.topic(2), place.name("group")
        first_ear, second_ear = ear_type(), ear_type()
        first = await place.consumer(topic, group=group, ear=first_ear)
        await joined(place, first, first_ear)
        second = await place.consumer(topic, group=group, ear=second_ear)
        await place.wait_for(lambda: first._handover.is_revoking, "the rebalance to reach the first member")
        first_ear.during_revoke = lambda going: first.commit(dict.fromkeys(going, 0), PATIENCE_S)
        await first.close(PATIENCE_S)
        assert [word for word, _, _ in first_ear.heard] == ["assign", "revoke"]
        await place.wait_for(
            lambda: second.assignment() == logs(topic, 2), "all logs", lambda: second.poll(1, 0.1)
        )
        assert await second.committed(logs(topic, 2), PATIENCE_S) == dict.fromkeys(logs(topic, 2), 0)

    stage(scene)


def test_closing_while_a_join_waits_for_the_others_takes_the_member_out(stage, ear_type):
    async def scene(place):
        topic, group = await place.topic(2), place.name("group")
        ear = ear_type()
        first = await place.consumer(topic, group=group, ear=ear)
        await joined(place, first, ear)
        second = await place.consumer(topic, group=group)
        await place.wait_for(lambda: first._handover.is_revoking, "the rebalance to reach the first member")
        # The second one's join is answered only when the first has joined, too: it does not.
        await second.close(PATIENCE_S)
        [described] = await place.admin.describe_groups([group], PATIENCE_S)
        assert len(described.members) == 1
        await place.wait_for(
            lambda: len(ear.said("assign")) == 2, "all logs again", lambda: first.poll(1, 0.1)
        )
        assert first.assignment() == logs(topic, 2)

    stage(scene)


def test_cancelled_polls_lose_nothing(stage):
    async def scene(place):
        topic, group = await place.topic(2), place.name("group")
        await place.fill(topic, 300)
        consumer = await place.consumer(topic, group=group)
        found = []

        async def impatient():
            poll = asyncio.ensure_future(consumer.poll(7, 1.0))
            for _ in range(len(found) % 5):
                await asyncio.sleep(0)
            poll.cancel()
            await asyncio.wait([poll])
            if not poll.cancelled():
                found.extend(poll.result())
            else:
                found.extend(await consumer.poll(1, 0.05))

        await place.wait_for(lambda: len(found) >= 300, "every record", impatient)
        assert sorted(int(record.value) for record in found) == list(range(300))

    stage(scene)


def test_members_of_one_process_keep_their_logs_when_another_comes(stage, ear_type):
    """aiokafka's sticky assignor keeps what a member holds in its class."""

    async def scene(place):
        topic, group = await place.topic(6), place.name("group")
        consumers = [await place.consumer(topic, group=group) for _ in range(2)]

        async def all_poll():
            await asyncio.gather(*(consumer.poll(1, 0.1) for consumer in consumers))

        def sizes():
            return sorted(len(consumer.assignment()) for consumer in consumers)

        await place.wait_for(lambda: sizes() == [3, 3], "three logs each", all_poll)
        before = [set(consumer.assignment()) for consumer in consumers]
        consumers.append(await place.consumer(topic, group=group))
        await place.wait_for(lambda: sizes() == [2, 2, 2], "two logs each", all_poll)
        kept = [held & set(consumer.assignment()) for held, consumer in zip(before, consumers, strict=False)]
        assert [len(some) for some in kept] == [2, 2]

    stage(scene)


def test_a_pattern_finds_new_topics_by_their_whole_names(stage, ear_type):
    async def scene(place):
        from streamproof.options import ConsumerOptions
        from streamproof.records import TopicSpec

        stem = place.name("stem")
        await place.admin.create_topics([TopicSpec(stem), TopicSpec(f"{stem}-more")], PATIENCE_S)
        for group in (place.name("group"), None):
            consumer = await place.driver.consumer(
                ConsumerOptions(
                    pattern=f"(?i){stem.upper()}(-new-.*)?", group=group, session_timeout_s=SESSION_S
                )
            )
            await consumer.start(ear_type(), PATIENCE_S)
            step = lambda consumer=consumer: consumer.poll(1, 0.1)  # noqa: E731
            await place.wait_for(lambda: len(consumer.assignment()) == 1, "the topic that is there", step)  # noqa: B023
            assert consumer.assignment() == logs(stem, 1)
            new = f"{stem}-new-{group}"
            await place.admin.create_topics([TopicSpec(new)], PATIENCE_S)
            await place.wait_for(lambda: len(consumer.assignment()) == 2, "the new topic", step)  # noqa: B023
            assert {log.topic for log in consumer.assignment()} == {stem, new}
            await consumer.close(PATIENCE_S)
            await place.admin.delete_topics([new], PATIENCE_S)

    stage(scene)
