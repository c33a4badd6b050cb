"""The admin: topics made, described, listed and deleted; groups described; namespaces kept apart."""

import pytest

from streamproof import ConfigurationError, TopicExists, TopicSpec, UnknownTopic, Unsupported, UsageError
from streamproof_harness.conformance._async.stage import AsyncStage, case, logs_of, numbered


class AsyncTopics(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_a_topic_can_be_used_as_soon_as_it_is_created(self) -> None:
        for number in range(3):
            topic = await self.topic(partitions=3)
            member = await self.member(topic, group=self.name())
            await self.send(topic, b"%d" % number, partition=2)
            assert await self.read_to(member, b"%d" % number) == [b"%d" % number]

    @case
    async def test_topics_are_listed_and_described(self) -> None:
        admin = await self.bus.admin()
        names = [await self.topic(partitions=partitions) for partitions in (1, 3)]
        listed = await admin.list_topics()
        assert set(names) <= set(listed)
        assert listed == sorted(listed)
        for name, partitions in zip(names, (1, 3), strict=True):
            description = await admin.describe_topic(name)
            assert (description.name, description.partitions) == (name, partitions)

    @case
    async def test_several_are_created_at_once(self) -> None:
        admin = await self.bus.admin()
        specs = [TopicSpec(self.name("topic"), partitions) for partitions in (1, 2)]
        self._topics.extend(spec.name for spec in specs)
        await admin.create_topics(*specs)
        found = [(await admin.describe_topic(spec.name)).partitions for spec in specs]
        assert found == [1, 2]

    @case
    async def test_a_topic_that_is_there_is_not_made_again(self) -> None:
        admin = await self.bus.admin()
        topic = await self.topic(partitions=2)
        await self.send(topic, b"kept", partition=0)
        for partitions in (2, 3):
            with pytest.raises(TopicExists):
                await admin.create_topic(topic, partitions)
        assert (await admin.describe_topic(topic)).partitions == 2
        reader = await self.member(topic, group=self.name())
        assert await self.read_to(reader, b"kept") == [b"kept"]

    @case
    async def test_a_deleted_topic_is_gone(self) -> None:
        admin = await self.bus.admin()
        topic = await self.topic()
        await self.send(topic, b"v")
        await admin.delete_topics(topic)
        self._topics.remove(topic)
        assert topic not in await admin.list_topics()
        with pytest.raises(UnknownTopic):
            await admin.describe_topic(topic)
        with pytest.raises(UnknownTopic):
            await admin.delete_topics(topic)

    @case
    async def test_a_topic_nobody_made_is_unknown(self) -> None:
        admin, name = await self.bus.admin(), self.name("nowhere")
        with pytest.raises(UnknownTopic):
            await admin.describe_topic(name)
        with pytest.raises(UnknownTopic):
            await admin.delete_topics(name)
        with pytest.raises(UnknownTopic):
            await self.member(name, group=self.name())
        if self.can.can_replay:
            with pytest.raises(UnknownTopic):
                await self.reader(name)
        assert name not in await admin.list_topics()

    @case
    async def test_retention_is_described_or_refused(self) -> None:
        settings = {"retention_ms": 86_400_000, "retention_bytes": 10_000_000}
        if not self.can.can_retain:
            for name, value in settings.items():
                with pytest.raises(Unsupported):
                    await self.topic(**{name: value})
            return
        topic = await self.topic(**settings)
        description = await (await self.bus.admin()).describe_topic(topic)
        assert (description.retention_ms, description.retention_bytes) == (86_400_000, 10_000_000)
        reader = await self.reader(topic)
        await self.send(topic, *numbered(3))
        assert await self.read_to(reader, b"2") == numbered(3)

    @case
    async def test_compaction_is_described_or_refused(self) -> None:
        if not self.can.can_compact:
            with pytest.raises(Unsupported):
                await self.topic(is_compacted=True)
            return
        topic = await self.topic(is_compacted=True)
        assert (await (await self.bus.admin()).describe_topic(topic)).is_compacted

    @case
    async def test_names_and_counts_that_cannot_be_are_refused(self) -> None:
        admin = await self.bus.admin()
        for wrong in ("", "a b", "a/b", "x" * 250, None):
            with pytest.raises(UsageError):
                await admin.create_topic(wrong)  # type: ignore[arg-type]
        for partitions in (0, -1, "3", 1.5):
            with pytest.raises(ConfigurationError):
                await admin.create_topic(self.name("topic"), partitions)  # type: ignore[arg-type]

    @case
    async def test_groups_are_listed_and_described(self) -> None:
        admin = await self.bus.admin()
        topic, group = await self.topic(partitions=2), self.name()
        assert (await admin.describe_group(group)).state == "dead"
        members = [await self.member(topic, group=group) for _ in range(2)]
        await self.share(members, topic, 2)
        assert group in await admin.list_groups()
        description = await admin.describe_group(group)
        assert description.name == group
        if not self.can.has_generations:
            assert description.generation is None
        held = sorted(log for member in description.members for log in member.partitions)
        assert held == logs_of(topic, 2)
        assert len({member.member_id for member in description.members}) == 2

    @case
    async def test_namespaces_do_not_meet(self) -> None:
        if not self.url:
            return
        topic, group = self.name("topic"), self.name()
        buses = [await self.another_bus(namespace=self.name("ns") + ".") for _ in range(2)]
        for number, bus in enumerate(buses):
            admin = await bus.admin()
            await admin.create_topic(topic)
            assert await admin.list_topics() == [topic]
            receipt = await (await (await bus.producer()).send(topic, b"%d" % number)).result(self.patience_s)
            assert receipt.topic == topic
        for number, bus in enumerate(buses):
            admin = await bus.admin()
            consumer = await bus.consumer(topic, group=group, **self.group_options)
            [record] = await self.read(consumer, 1)
            assert (record.topic, record.value) == (topic, b"%d" % number)
            assert list(consumer.assignment()) == logs_of(topic, 1)
            await consumer.ack(record)
            await consumer.commit()
            assert await admin.list_groups() == [group]
            await consumer.close(self.patience_s)
            await admin.delete_topics(topic)
            assert await admin.list_topics() == []
