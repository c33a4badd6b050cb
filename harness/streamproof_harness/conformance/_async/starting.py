"""Where reading begins: at the first record, at what comes after joining, at a time. And patterns."""

import re
from collections.abc import Callable

import pytest

from streamproof import AsyncConsumer, AtTime, Unsupported
from streamproof_harness.conformance._async.stage import AsyncStage, Taken, case, numbered, values_of

HOUR_MS = 3_600_000
NOON_MS = 1_700_000_000_000


class AsyncStarting(AsyncStage):
    """See the module's docstring."""

    async def _consumers(self, topic: str, **options: object) -> list[AsyncConsumer[bytes, bytes]]:
        """A member of a new group, and, where that is possible, a reader without a group."""
        consumers = [await self.member(topic, group=self.name(), **options)]
        if self.can.can_replay:
            consumers.append(await self.reader(topic, **options))
        for consumer in consumers:
            await consumer.wait_assigned(self.patience_s)
        return consumers

    @case
    async def test_the_earliest_is_the_default(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(5))
        for options in ({}, {"start": "earliest"}):
            for consumer in await self._consumers(topic, **options):
                assert await self.read_to(consumer, b"4") == numbered(5)

    @case
    async def test_the_latest_is_what_comes_once_a_log_is_assigned(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(5))
        consumers = await self._consumers(topic, start="latest")
        await self.send(topic, *numbered(3, start=5))
        for consumer in consumers:
            assert await self.read_to(consumer, b"7") == [b"5", b"6", b"7"]

    @case
    async def test_a_time_begins_at_the_first_record_from_then_on(self) -> None:
        if not self.can.has_timestamps:
            return
        topic = await self.topic()
        for hour, value in enumerate(numbered(5)):
            await self.send(topic, value, timestamp_ms=NOON_MS + hour * HOUR_MS)
        for time_ms, first in (
            (NOON_MS + 2 * HOUR_MS, 2),
            (NOON_MS + 2 * HOUR_MS + 1, 3),
            (NOON_MS - HOUR_MS, 0),
        ):
            for consumer in await self._consumers(topic, start=AtTime(time_ms)):
                assert await self.read_to(consumer, b"4") == numbered(5 - first, start=first)

    @case
    async def test_a_group_that_has_progress_ignores_the_start(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(5))
        records = await self.read(first, 5)
        await first.ack(records[:2])
        await first.close(self.patience_s)
        for start in ("latest", "earliest"):
            member = await self.member(topic, group=group, start=start)
            assert await self.read_to(member, b"4") == [b"2", b"3", b"4"]
            await member.close(self.patience_s)

    @case
    async def test_a_pattern_matches_whole_names(self) -> None:
        stem = self.name("topic")
        admin = await self.bus.admin()
        names = [f"{stem}.a", f"{stem}.b", f"{stem}.ab", f"x{stem}.a"]
        for name in names:
            self._topics.append(name)
            await admin.create_topic(name)
            await self.send(name, name.encode())
        pattern = re.escape(stem) + r"\.[ab]"
        if not self.can.can_match_pattern:
            with pytest.raises(Unsupported):
                await self.bus.consumer(pattern=pattern, group=self.name())
            return
        consumers = [await self.member(group=self.name(), pattern=pattern)]
        if self.can.can_replay:
            consumers.append(await self.reader(pattern=pattern))
        for consumer in consumers:
            await self.read_to(consumer, *[name.encode() for name in names[:2]])
            assert {log.topic for log in consumer.assignment()} == set(names[:2])

    @case
    async def test_a_pattern_finds_topics_that_come_later(self) -> None:
        if not self.can.can_match_pattern:
            return
        stem = self.name("topic")
        member = await self.member(group=self.name(), pattern=re.escape(stem) + ".*")
        await member.poll(timeout_s=0)
        admin = await self.bus.admin()
        for name in (f"{stem}.first", f"{stem}.second"):
            self._topics.append(name)
            await admin.create_topic(name)
            await self.send(name, b"1", b"2")
            taken = await self.take_turns([member], self._has_both(name))
            assert values_of(taken) == [b"1", b"2"]

    def _has_both(self, name: str) -> Callable[[Taken], bool]:
        def has_both(taken: Taken) -> bool:
            return [record.value for _, record in taken if record.topic == name] == [b"1", b"2"]

        return has_both
