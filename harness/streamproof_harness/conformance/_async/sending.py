"""Sends and what becomes of them: receipts, callbacks, flush, close, refusals that are certain."""

import pytest

from streamproof import (
    AsyncDelivery,
    BackendError,
    Outcome,
    Outgoing,
    RecordTooLarge,
    UnknownTopic,
    Unsupported,
    UsageError,
)
from streamproof_harness.conformance._async.stage import AsyncStage, case, numbered


class AsyncSending(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_send_many_keeps_the_order_and_everything_of_a_record(self) -> None:
        topic = await self.topic(partitions=2)
        reader = await self.reader(topic)
        producer = await self.producer()
        full: Outgoing[bytes, bytes] = Outgoing(
            b"full", b"k", (("h", b"1"), ("h", None)), partition=1, timestamp_ms=1_700_000_000_000
        )
        rest: list[Outgoing[bytes, bytes]] = [Outgoing(value, partition=0) for value in numbered(200)]
        deliveries = await producer.send_many(topic, [full, *rest])
        receipts = await deliveries.result(self.patience_s)
        assert deliveries.is_settled
        assert deliveries.errors == []
        assert [receipt.partition for receipt in receipts] == [1] + [0] * 200
        assert [delivery.receipt for delivery in deliveries] == receipts
        records = await self.read(reader, 201)
        assert [record.value for record in records if record.partition == 0] == numbered(200)
        [found] = [record for record in records if record.partition == 1]
        assert (found.key, found.value) == (b"k", b"full")
        if self.can.has_headers:
            assert found.headers == (("h", b"1"), ("h", None))
        if self.can.has_timestamps:
            assert found.timestamp_ms == 1_700_000_000_000

    @case
    async def test_send_many_takes_pairs_and_plain_values(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer()
        await (await producer.send_many(topic, [(b"k", b"1"), b"2", (None, b"3")])).result(self.patience_s)
        found = [(record.key, record.value) for record in await self.read(reader, 3)]
        assert found == [(b"k", b"1"), (None, b"2"), (None, b"3")]

    @case
    async def test_send_many_of_nothing_is_settled(self) -> None:
        topic = await self.topic()
        deliveries = await (await self.producer()).send_many(topic, [])
        assert len(deliveries) == 0
        assert await deliveries.result(self.patience_s) == []

    @case
    async def test_flush_settles_everything_sent_before(self) -> None:
        topic = await self.topic()
        producer = await self.producer(linger_ms=20.0)
        deliveries = [await producer.send(topic, value) for value in numbered(300)]
        batch = await producer.send_many(topic, numbered(300))
        await producer.flush(self.patience_s)
        assert {delivery.outcome for delivery in deliveries} == {Outcome.ACKNOWLEDGED}
        assert batch.is_settled
        await producer.flush(self.patience_s)

    @case
    async def test_close_settles_everything(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.bus.producer(linger_ms=20.0)
        deliveries = [await producer.send(topic, value) for value in numbered(300)]
        await producer.close(self.patience_s)
        assert {delivery.outcome for delivery in deliveries} == {Outcome.ACKNOWLEDGED}
        assert [record.value for record in await self.read(reader, 300)] == numbered(300)

    @case
    async def test_callbacks_run_once_for_each_delivery(self) -> None:
        topic = await self.topic()
        producer = await self.producer()
        heard: list[object] = []
        deliveries = []
        for value in numbered(20):
            delivery = await producer.send(topic, value)
            delivery.add_done_callback(heard.append)
            deliveries.append(delivery)
        await producer.flush(self.patience_s)
        deliveries[0].add_done_callback(heard.append)
        assert heard == [*deliveries, deliveries[0]]

    @case
    async def test_a_small_buffer_slows_and_loses_nothing(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer(buffer_records=7)
        for value in numbered(300):
            await producer.send(topic, value, timeout_s=self.patience_s)
        many = await producer.send_many(topic, numbered(300, start=300), timeout_s=self.patience_s)
        await many.result(self.patience_s)
        assert [record.value for record in await self.read(reader, 600)] == numbered(600)

    @case
    async def test_weaker_acknowledgement_is_honoured_or_refused(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        try:
            producer = await self.producer(acks="leader", is_idempotent=False)
        except Unsupported:
            return
        receipt = await (await producer.send(topic, b"v")).result(self.patience_s)
        assert receipt.partition == 0
        assert (await self.read(reader, 1))[0].value == b"v"

    @case
    async def test_an_unknown_topic_fails_for_certain(self) -> None:
        producer = await self.producer()
        await self._fails_for_certain(await producer.send(self.name("nowhere"), b"v"), UnknownTopic)

    @case
    async def test_an_unknown_partition_fails_for_certain(self) -> None:
        topic = await self.topic(partitions=2)
        reader = await self.reader(topic)
        producer = await self.producer()
        await self._fails_for_certain(await producer.send(topic, b"v", partition=2), UnknownTopic)
        many = await producer.send_many(topic, [Outgoing(b"1", partition=0), Outgoing(b"2", partition=9)])
        await self._fails_for_certain(many[1], UnknownTopic)
        assert (await many[0].result(self.patience_s)).partition == 0
        assert await self.read_to(reader, b"1") == [b"1"]

    @case
    async def test_an_oversized_record_fails_for_certain_and_alone(self) -> None:
        if not self.oversized_bytes:
            return
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer()
        large = bytes(self.oversized_bytes)
        await self._fails_for_certain(await producer.send(topic, large), RecordTooLarge)
        many = await producer.send_many(topic, [b"1", large, b"2"])
        await self._fails_for_certain(many[1], RecordTooLarge)
        await producer.send(topic, b"last")
        assert await self.read_to(reader, b"last") == [b"1", b"2", b"last"]

    async def _fails_for_certain(self, delivery: AsyncDelivery, error: type[BackendError]) -> None:
        with pytest.raises(error):
            await delivery.result(self.patience_s)
        assert delivery.outcome is Outcome.FAILED

    @case
    async def test_arguments_of_a_wrong_type_are_refused_and_not_sent(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer()
        for wrong in (
            {"value": "text"},
            {"value": 7},
            {"value": b"v", "key": "text"},
            {"value": b"v", "headers": [("h", 7)]},
            {"value": b"v", "headers": "text"},
            {"value": b"v", "partition": -1},
            {"value": b"v", "partition": "0"},
            {"value": b"v", "timestamp_ms": 1.5},
        ):
            with pytest.raises(UsageError):
                await producer.send(topic, **wrong)
        for name in (None, b"bytes", ""):
            with pytest.raises(UsageError):
                await producer.send(name, b"v")  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            await producer.send_many(topic, [b"fine", "text"])
        await producer.send(topic, b"last")
        assert await self.read_to(reader, b"last") == [b"last"]
