"""What is sent comes back: values, keys, headers, timestamps, places."""

import time

from streamproof import Outgoing
from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered, offset_of

VALUES = {
    b"an empty one": b"",
    b"every byte": bytes(range(256)),
    b"text": "grün, 緑, 🌱".encode(),
    b"zeros": bytes(100),
    b"a line end": b"\r\n\x00",
}

TEN_MINUTES_MS = 600_000

# What Kafka's own clients answer for seven partitions: murmur2 of the key, without its sign.
PARTITIONS_OF_SEVEN = {
    b"21": 3,
    b"foobar": 0,
    b"a-little-bit-long-string": 1,
    b"a-little-bit-longer-string": 0,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": 3,
    b"abc": 4,
    b"": 2,
}


class AsyncRoundTrips(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_values_come_back_unchanged(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer()
        for name, value in VALUES.items():
            await producer.send(topic, value, key=name)
        await producer.flush(self.patience_s)
        assert {r.key: r.value for r in await self.read(reader, len(VALUES))} == VALUES

    @case
    async def test_no_value_is_not_an_empty_value(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        await self.send(topic, None, b"", None, key=b"k")
        assert [record.value for record in await self.read(reader, 3)] == [None, b"", None]

    @case
    async def test_keys_come_back_unchanged(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        keys = [None, b"", bytes(range(256)), "schlüssel".encode(), b"k" * 2000]
        producer = await self.producer()
        await (await producer.send_many(topic, [(key, b"v") for key in keys])).result(self.patience_s)
        assert [record.key for record in await self.read(reader, len(keys))] == keys

    @case
    async def test_a_megabyte_comes_back(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        large = bytes(range(250)) * 4000
        await self.send(topic, large, b"last")
        first, last = await self.read(reader, 2)
        assert first.value == large
        assert last.value == b"last"

    @case
    async def test_headers_come_back_in_their_order(self) -> None:
        if not self.can.has_headers:
            return
        topic = await self.topic()
        reader = await self.reader(topic)
        headers = [("a", b"1"), ("b", None), ("a", b""), ("ü", b"\x00\xff"), ("a", b"1")]
        await self.send(topic, b"with", headers=headers)
        await self.send(topic, b"from a mapping", headers={"name": "grün", "none": None})
        await self.send(topic, b"without")
        found = [record.headers for record in await self.read(reader, 3)]
        assert found == [tuple(headers), (("name", "grün".encode()), ("none", None)), ()]

    @case
    async def test_timestamps_come_back(self) -> None:
        if not self.can.has_timestamps:
            return
        topic = await self.topic()
        reader = await self.reader(topic)
        now_ms = int(time.time() * 1000)
        times = [now_ms - 3, now_ms - 86_400_001, now_ms]
        for timestamp_ms in times:
            [receipt] = await self.send(topic, b"v", timestamp_ms=timestamp_ms)
            assert receipt.timestamp_ms == timestamp_ms
        assert [record.timestamp_ms for record in await self.read(reader, 3)] == times

    @case
    async def test_without_a_timestamp_it_is_the_time_of_sending(self) -> None:
        if not self.can.has_timestamps:
            return
        topic = await self.topic()
        reader = await self.reader(topic)
        [receipt] = await self.send(topic, b"v")
        [record] = await self.read(reader, 1)
        assert record.timestamp_ms == receipt.timestamp_ms
        assert abs(record.timestamp_ms - time.time() * 1000) < TEN_MINUTES_MS

    @case
    async def test_records_know_their_places(self) -> None:
        topic = await self.topic(partitions=2)
        reader = await self.reader(topic)
        receipts = [*await self.send(topic, *numbered(3), partition=0)]
        receipts += await self.send(topic, *numbered(3), partition=1)
        records = await self.read(reader, 6)
        assert {record.topic for record in records} == {topic}
        assert {(record.attempt, record.is_redelivered) for record in records} == {(1, False)}
        for partition in (0, 1):
            stand = [record for record in records if record.partition == partition]
            assert [record.value for record in stand] == numbered(3)
            assert {record.topic_partition for record in stand} == {(topic, partition)}
            if self.can.can_replay:
                offsets = [offset_of(record) for record in stand]
                assert offsets == sorted(set(offsets)), "offsets rise"
                acknowledged = [receipt.offset for receipt in receipts if receipt.partition == partition]
                assert acknowledged == (offsets if self.can.has_send_offsets else [None] * 3)

    @case
    async def test_receipts_tell_the_topic_and_the_partition(self) -> None:
        topic = await self.topic(partitions=3)
        producer = await self.producer()
        for partition in (2, 0, 1):
            delivery = await producer.send(topic, b"v", partition=partition)
            receipt = await delivery.result(self.patience_s)
            assert (receipt.topic, receipt.partition) == (topic, partition)
            assert (receipt.offset is not None) == self.can.has_send_offsets

    @case
    async def test_an_explicit_partition_is_used_whatever_the_key(self) -> None:
        topic = await self.topic(partitions=3)
        reader = await self.reader(topic)
        for partition in range(3):
            await self.send(topic, b"%d" % partition, key=b"one key", partition=partition)
        found = {record.partition: record.value for record in await self.read(reader, 3)}
        assert found == {0: b"0", 1: b"1", 2: b"2"}

    @case
    async def test_keys_choose_partitions_as_in_kafka(self) -> None:
        topic = await self.topic(partitions=7)
        reader = await self.reader(topic)
        producer = await self.producer()
        keys = list(PARTITIONS_OF_SEVEN)
        single = [await producer.send(topic, b"v", key=key) for key in keys]
        receipts = [await delivery.result(self.patience_s) for delivery in single]
        many = await producer.send_many(topic, [Outgoing(b"v", key) for key in keys])
        receipts += await many.result(self.patience_s)
        expected = list(PARTITIONS_OF_SEVEN.values())
        assert [receipt.partition for receipt in receipts] == expected * 2
        records = await self.read(reader, 2 * len(keys))
        assert {record.key: record.partition for record in records} == PARTITIONS_OF_SEVEN

    @case
    async def test_records_without_a_key_go_to_any_partition(self) -> None:
        topic = await self.topic(partitions=3)
        reader = await self.reader(topic)
        receipts = await self.send(topic, *numbered(50))
        records = await self.read(reader, 50)
        assert sorted(record.value for record in records) == sorted(numbered(50))
        assert {record.partition for record in records} == {receipt.partition for receipt in receipts}
        assert {record.partition for record in records} <= {0, 1, 2}
