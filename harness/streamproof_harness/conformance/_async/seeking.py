"""Moving: to an offset, an end, a time; replaying; and what lies outside of a log."""

import pytest

from streamproof import (
    AsyncConsumer,
    AtTime,
    NotAssigned,
    OffsetOutOfRange,
    TopicPartition,
    Unsupported,
    UsageError,
)
from streamproof.records import Position
from streamproof_harness.conformance._async.stage import AsyncStage, case, logs_of, numbered, offset_of

HOUR_MS = 3_600_000
NOON_MS = 1_700_000_000_000


class AsyncSeeking(AsyncStage):
    """See the module's docstring. What is possible differs between groups and readers without one."""

    async def _movable(self, topic: str) -> list[AsyncConsumer[bytes, bytes]]:
        """Consumers that can be moved here."""
        consumers = []
        if self.can.can_seek:
            consumers.append(await self.member(topic, group=self.name()))
        if self.can.can_replay:
            consumers.append(await self.reader(topic))
        for consumer in consumers:
            await consumer.wait_assigned(self.patience_s)
        return consumers

    @case
    async def test_every_move_that_is_missing_is_refused(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await member.wait_assigned(self.patience_s)
        places: tuple[Position, ...] = (0, "beginning", "end")
        for place in places:
            if not self.can.can_seek:
                with pytest.raises(Unsupported):
                    await member.seek(place)
        if not (self.can.can_seek and self.can.can_seek_time):
            with pytest.raises(Unsupported):
                await member.seek(AtTime(0))
        if not self.can.has_group_offsets:
            for ask in (member.position, member.lag):
                with pytest.raises(Unsupported):
                    await ask(TopicPartition(topic, 0))

    @case
    async def test_an_offset_can_be_read_again_and_again(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(10))
        for consumer in await self._movable(topic):
            records = await self.read(consumer, 10)
            for index in (7, 3, 3, 0, 9):
                await consumer.seek(offset_of(records[index]))
                assert await self.read_to(consumer, b"9") == numbered(10 - index, start=index)

    @case
    async def test_the_ends_are_places_too(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(5))
        for number, consumer in enumerate(await self._movable(topic)):
            await consumer.seek("end")
            await self.send(topic, b"later %d" % number)
            assert await self.read_to(consumer, b"later %d" % number) == [b"later %d" % number]
            await consumer.seek("beginning")
            again = await self.read_to(consumer, b"later %d" % number)
            assert again[:5] == numbered(5)

    @case
    async def test_a_time_is_the_first_record_from_then_on(self) -> None:
        if not (self.can.has_timestamps and (self.can.can_seek_time or self.can.can_replay)):
            return
        topic = await self.topic()
        for hour, value in enumerate(numbered(5)):
            await self.send(topic, value, timestamp_ms=NOON_MS + hour * HOUR_MS)
        for number, consumer in enumerate(await self._movable_in_time(topic)):
            for time_ms, first in ((NOON_MS + 3 * HOUR_MS, 3), (NOON_MS + 1, 1), (0, 0)):
                await consumer.seek(AtTime(time_ms))
                assert (await self.read_to(consumer, b"4"))[: 5 - first] == numbered(5 - first, start=first)
            await consumer.seek(AtTime(NOON_MS + 9 * HOUR_MS))
            last = b"beyond %d" % number
            await self.send(topic, last, timestamp_ms=NOON_MS + 5 * HOUR_MS)
            assert await self.read_to(consumer, last) == [last], "beyond the last record is the end"

    async def _movable_in_time(self, topic: str) -> list[AsyncConsumer[bytes, bytes]]:
        consumers = await self._movable(topic)
        if self.can.can_seek and not self.can.can_seek_time:
            return consumers[1:]
        return consumers

    @case
    async def test_only_the_chosen_logs_move(self) -> None:
        topic = await self.topic(partitions=2)
        for partition in range(2):
            await self.send(topic, *numbered(3, start=10 * partition), partition=partition)
        for consumer in await self._movable(topic):
            await self.read_to(consumer, b"2", b"12")
            await consumer.seek("beginning", [TopicPartition(topic, 1)])
            assert await self.read_to(consumer, b"12") == [b"10", b"11", b"12"]

    @case
    async def test_moving_forgets_what_was_given_back(self) -> None:
        if not self.can.can_seek:
            return
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, *numbered(3))
        records = await self.read(member, 3)
        await member.nack(records[0], delay_s=3600)
        await member.seek("beginning")
        again = await self.read(member, 3)
        assert [(record.value, record.attempt) for record in again] == [(b"0", 1), (b"1", 1), (b"2", 1)]

    @case
    async def test_moving_back_does_not_take_stored_progress_back(self) -> None:
        if not (self.can.can_seek and self.can.has_group_offsets):
            return
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(5))
        await first.ack(await self.read(first, 5))
        await first.close(self.patience_s)
        second = await self.member(topic, group=group)
        await second.wait_assigned(self.patience_s)
        await second.seek("beginning")
        await second.ack((await self.read(second, 5))[:2])
        await second.close(self.patience_s)
        await self.send(topic, b"last")
        third = await self.member(topic, group=group)
        assert await self.read_to(third, b"last") == [b"last"]

    @case
    async def test_beyond_the_end_is_out_of_range(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(3))
        for consumer in await self._movable(topic):
            last = (await self.read(consumer, 3))[-1]
            with pytest.raises(OffsetOutOfRange):
                await self._read_from(consumer, offset_of(last) + 1000)
            await consumer.seek(offset_of(last))
            assert await self.read_to(consumer, b"2") == [b"2"]

    async def _read_from(self, consumer: AsyncConsumer[bytes, bytes], offset: int) -> None:
        """Drivers may refuse a place when moved there, or when read from there."""
        await consumer.seek(offset)
        await self.read(consumer, 1)

    @case
    async def test_a_log_that_is_not_held_cannot_be_moved(self) -> None:
        topic = await self.topic()
        for consumer in await self._movable(topic):
            for stranger in (TopicPartition(topic, 7), TopicPartition(self.name("nowhere"), 0)):
                with pytest.raises(NotAssigned):
                    await consumer.seek("beginning", [stranger])

    @case
    async def test_what_is_no_place_is_refused(self) -> None:
        topic = await self.topic()
        for consumer in await self._movable(topic):
            for wrong in (-1, "start", None, 1.5):
                with pytest.raises(UsageError):
                    await consumer.seek(wrong)  # type: ignore[arg-type]

    @case
    async def test_below_the_log_start_is_out_of_range(self) -> None:
        topic = await self.topic()
        await self.send(topic, *numbered(10))
        admin = await self.bus.admin()
        [log] = logs_of(topic, 1)
        consumers = await self._movable(topic)
        if not consumers:
            return
        offsets = [offset_of(record) for record in await self.read(consumers[0], 10)]
        try:
            await admin.delete_records({log: offsets[4]})
        except Unsupported:
            return
        for consumer in consumers:
            with pytest.raises(OffsetOutOfRange):
                await self._read_from(consumer, offsets[1])
            await consumer.seek("beginning")
            assert await self.read_to(consumer, b"9") == numbered(6, start=4)
