"""Keys and values in formats: written, read back, and refused without harm to others."""

from dataclasses import dataclass

import pytest

from streamproof import SerializationError
from streamproof_harness.conformance._async.stage import AsyncStage, case


@dataclass
class Reading:
    """A value of a type."""

    device: str
    celsius: float


class AsyncFormats(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_formats_come_back(self) -> None:
        for key_format, key, value_format, value in (
            ("text", "schlüssel", "json", {"a": [1, None, "ü"]}),
            ("json", ["a", 1], "text", "grün 🌱"),
            ("text", "d1", Reading, Reading("d1", 21.5)),
            (Reading, Reading("d2", 0.0), "bytes", b"\xff"),
        ):
            topic = await self.topic()
            reader = await self.reader(topic, key=key_format, value=value_format)
            producer = await self.producer(key=key_format, value=value_format)
            await producer.send(topic, value, key=key)
            await (await producer.send_many(topic, [(key, value), (None, None)])).result(self.patience_s)
            found = [(record.key, record.value) for record in await self.read(reader, 3)]
            assert found == [(key, value), (key, value), (None, None)]

    @case
    async def test_a_value_that_cannot_be_written_is_not_sent(self) -> None:
        topic = await self.topic()
        reader = await self.reader(topic)
        producer = await self.producer(value=Reading)
        with pytest.raises(SerializationError):
            await producer.send(topic, {"device": "d1"})
        with pytest.raises(SerializationError):
            await producer.send_many(topic, [Reading("first", 0.0), {"device": "d1"}])
        await (await producer.send(topic, Reading("last", 1.0))).result(self.patience_s)
        assert await self.read_to(reader, b'{"device":"last","celsius":1.0}') == [
            b'{"device":"last","celsius":1.0}'
        ]

    @case
    async def test_a_record_that_cannot_be_read_is_told_and_the_others_come(self) -> None:
        topic = await self.topic()
        member = await self.member(topic, group=self.name(), value="json")
        await self.send(topic, b"1", b"{", b"3", b"4")
        values: list[object] = []
        told: list[SerializationError] = []
        while len(values) + len(told) < 4:
            try:
                records = await self.read(member, 1)
            except SerializationError as error:
                told.append(error)
                await member.ack(error.record)
            else:
                values.extend(record.value for record in records)
                await member.ack(records)
        assert values == [1, 3, 4]
        assert [error.record.value for error in told] == [b"{"]
