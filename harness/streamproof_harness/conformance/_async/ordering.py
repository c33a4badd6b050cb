"""Order: of a key, of a producer within a partition, and the same for everyone who looks."""

from streamproof import AsyncConsumer
from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered, values_of


class AsyncOrdering(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_records_of_a_key_come_in_the_order_they_were_sent(self) -> None:
        topic = await self.topic(partitions=3)
        reader = await self.reader(topic)
        producer = await self.producer()
        keys = [b"key %d" % number for number in range(6)]
        for value in numbered(40):
            for key in keys:
                await producer.send(topic, value, key=key)
        await producer.flush(self.patience_s)
        records = await self.read(reader, 240)
        for key in keys:
            assert [record.value for record in records if record.key == key] == numbered(40)
            assert len({record.partition for record in records if record.key == key}) == 1

    @case
    async def test_each_producer_keeps_its_order_within_a_partition(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producers = {b"a": await self.producer(), b"b": await self.producer()}
        for value in numbered(100):
            for name, producer in producers.items():
                await producer.send(topic, value, key=name)
        for producer in producers.values():
            await producer.flush(self.patience_s)
        records = await self.read(reader, 200)
        for name in producers:
            assert [record.value for record in records if record.key == name] == numbered(100)

    @case
    async def test_single_sends_and_batches_share_one_order(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer()
        for start in range(0, 100, 10):
            await producer.send(topic, b"%d" % start)
            await producer.send_many(topic, numbered(9, start=start + 1))
        await producer.flush(self.patience_s)
        assert [record.value for record in await self.read(reader, 100)] == numbered(100)

    @case
    async def test_two_groups_see_one_order_of_one_partition(self) -> None:
        topic = await self.topic()
        members = [await self.member(topic, group=self.name()) for _ in range(2)]
        producers = [await self.producer(), await self.producer()]
        for value in numbered(50):
            for index, producer in enumerate(producers):
                await producer.send(topic, b"%d:%b" % (index, value))
        for producer in producers:
            await producer.flush(self.patience_s)
        first, second = [await self._values(member, 100) for member in members]
        for values in (first, second):
            for index in range(2):
                of_one = [value for value in values if value.startswith(b"%d:" % index)]
                assert of_one == [b"%d:%b" % (index, value) for value in numbered(50)]
        if self.can.has_one_order:
            assert first == second

    async def _values(self, member: AsyncConsumer[bytes, bytes], count: int) -> list[bytes]:
        taken = await self.take_turns([member], lambda taken: len(taken) >= count)
        return values_of(taken)

    @case
    async def test_a_log_has_no_gaps_in_small_polls(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        await self.send(topic, *numbered(60))
        values: list[bytes] = []
        while len(values) < 60:
            records = await reader.poll(max_records=7, timeout_s=self.patience_s)
            assert 1 <= len(records) <= 7
            values.extend(record.value for record in records)
        assert values == numbered(60)
