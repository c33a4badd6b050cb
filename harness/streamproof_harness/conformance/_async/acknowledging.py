"""Acknowledging in any order, giving back, and getting again: nothing is lost, lanes keep their order."""

import time

from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered, values_of

REDELIVERIES = 30
"""More than any broker's default limit (RabbitMQ 4: 20)."""


class AsyncAcknowledging(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_acks_out_of_order_lose_nothing(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(10))
        records = await self.read(first, 10)
        for index in (9, 3, 8, 4, 0, 5):
            await first.ack(records[index])
        await first.close(self.patience_s)
        await self.send(topic, b"last")
        second = await self.member(topic, group=group)
        again = await self.read_to(second, b"last")
        if self.can.acknowledgement == "offset":
            assert again == [*numbered(9, start=1), b"last"], "progress stops below the lowest open record"
        else:
            assert again == [b"1", b"2", b"6", b"7", b"last"]

    @case
    async def test_a_second_ack_does_nothing(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(3))
        records = await self.read(first, 3)
        await first.ack(records[0])
        await first.ack(records[0])
        await first.ack(records[0], records[:1])
        await first.close(self.patience_s)
        await self.send(topic, b"last")
        second = await self.member(topic, group=group)
        assert await self.read_to(second, b"last") == [b"1", b"2", b"last"]

    @case
    async def test_a_record_given_back_comes_again_and_those_behind_it_after_it(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, *numbered(5))
        records = await self.read(member, 5)
        await member.ack(records[0])
        await member.nack(records[2])
        await self.send(topic, b"5")
        await member.ack(records[1])
        again = [record for _, record in await self.take_turns([member], lambda taken: len(taken) >= 4)]
        assert [record.value for record in again] == [b"2", b"3", b"4", b"5"]
        assert (again[0].attempt, again[0].is_redelivered) == (2, True)
        assert [record.attempt for record in again[1:]] == [1, 1, 1]
        assert (again[0].key, again[0].headers) == (records[2].key, records[2].headers)

    @case
    async def test_giving_back_waits_for_the_delay(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name())
        await self.send(topic, b"v")
        [record] = await self.read(member, 1)
        before_s = time.monotonic()
        await member.nack(record, delay_s=0.3)
        [again] = await self.read(member, 1)
        assert time.monotonic() - before_s >= 0.3
        assert again.attempt == 2

    @case
    async def test_other_keys_go_on_while_one_waits(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name(), order="key")
        await self.send(topic, b"a1", key=b"a")
        [first] = await self.read(member, 1)
        await member.nack(first, delay_s=3600)
        for value in (b"b1", b"a2", b"b2", b"b3"):
            await self.send(topic, value, key=value[:1])
        assert await self.read_to(member, b"b3") == [b"b1", b"b2", b"b3"]

    @case
    async def test_a_record_given_back_without_end_does_not_starve_the_others(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name(), order="key")
        await self.send(topic, b"poison", key=b"a")
        await self.send(topic, *numbered(20), key=b"b")
        handled: list[bytes] = []
        deadline = time.monotonic() + self.patience_s
        while len(handled) < 20 and time.monotonic() < deadline:
            for record in await member.poll(max_records=1, timeout_s=0.5):
                if record.value == b"poison":
                    await member.nack(record)
                else:
                    handled.append(record.value)
                    await member.ack(record)
        assert handled == numbered(20)

    @case
    async def test_thirty_redeliveries_lose_nothing(self) -> None:
        topic, group = await self.topic(), self.name()
        member = await self.member(topic, group=group)
        await self.send(topic, b"stubborn", b"behind it")
        attempts: list[int] = []
        while len(attempts) <= REDELIVERIES:
            records = await self.read(member, 1)
            assert records[0].value == b"stubborn"
            attempts.append(records[0].attempt)
            await member.nack(records[0])
        assert attempts == list(range(1, REDELIVERIES + 2))
        taken = await self.take_turns([member], lambda taken: len(taken) >= 2)
        assert values_of(taken) == [b"stubborn", b"behind it"]
        await member.close(self.patience_s)
        await self.send(topic, b"last")
        assert await self.read_to(await self.member(topic, group=group), b"last") == [b"last"]

    @case
    async def test_many_owners_that_leave_it_lose_nothing(self) -> None:
        topic, group = await self.topic(), self.name()
        await (await self.member(topic, group=group)).wait_assigned(self.patience_s)
        await self._opened.pop().close()
        await self.send(topic, b"stubborn", b"behind it")
        # Where the broker hands out single messages, it counts how often, and may give up.
        owners = REDELIVERIES if self.can.acknowledgement == "message" else 3
        for _ in range(owners):
            member = await self.member(topic, group=group)
            records = await self.read(member, 2)
            assert [record.value for record in records] == [b"stubborn", b"behind it"]
            await member.close(self.patience_s)
        member = await self.member(topic, group=group)
        taken = await self.take_turns([member], lambda taken: len(taken) >= 2)
        assert values_of(taken) == [b"stubborn", b"behind it"]

    @case
    async def test_a_record_given_back_survives_its_member(self) -> None:
        topic, group = await self.topic(), self.name()
        first = await self.member(topic, group=group)
        await self.send(topic, *numbered(3))
        records = await self.read(first, 3)
        await first.ack(records[0], records[2])
        await first.nack(records[1], delay_s=3600)
        await first.close(self.patience_s)
        second = await self.member(topic, group=group)
        await self.send(topic, b"last")
        again = await self.read_to(second, b"last")
        assert b"1" in again
        assert b"0" not in again
