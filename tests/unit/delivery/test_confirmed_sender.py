"""Sent until acknowledged, under one id: nothing lost, and a double known for what it is."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

import streamproof
from streamproof import BufferFull, DeliveryUnknown, RecordTooLarge, StreamproofError
from streamproof.delivery import RECORD_ID, AsyncConfirmedSender, ConfirmedSender, Retry

NOW = Retry("fixed", max_attempts=4, base_s=0.0)


class LostAnswer:
    """A delivery whose record is stored, and whose answer is not."""

    def result(self, timeout_s: float) -> Any:
        raise DeliveryUnknown("no answer")


class Faulty:
    """A real producer of a real log, some of whose first sends go wrong."""

    def __init__(self, producer: Any, faults: list[str]) -> None:
        self.producer = producer
        self.faults = faults

    def send(self, topic: str, value: Any, **options: Any) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "full":
            raise BufferFull("full")
        if fault == "too large":
            raise RecordTooLarge("too large")
        delivery = self.producer.send(topic, value, **options)
        if fault == "lost":
            delivery.result()
            return LostAnswer()
        return delivery


def sent(faults: list[str], **options: Any) -> tuple[list[tuple[str, str]], StreamproofError | None]:
    """Values and ids in the log after one send, and its error."""
    error = None
    with streamproof.connect(f"memory://{uuid4().hex}") as bus:
        bus.admin().create_topic("orders")
        sender = ConfirmedSender(Faulty(bus.producer(value="text"), faults), retry=NOW)
        try:
            assert sender.send("orders", "v", key=b"k", headers={"h": "x"}, **options).topic == "orders"
        except StreamproofError as raised:
            error = raised
        records = bus.consumer("orders", value="text").poll(timeout_s=0.1)
        assert all(record.header("h") == b"x" for record in records)
        return [(record.value, (record.header(RECORD_ID) or b"").decode()) for record in records], error


def test_a_record_is_sent_once_where_nothing_fails() -> None:
    found, error = sent([])
    assert error is None
    assert [value for value, _ in found] == ["v"]
    assert found[0][1]


@pytest.mark.parametrize(("faults", "times"), [(["full"], 1), (["lost"], 2), (["lost", "full", "lost"], 3)])
def test_what_failed_is_sent_again_under_its_id(faults: list[str], times: int) -> None:
    found, error = sent(faults, record_id="order-1")
    assert error is None
    assert found == [("v", "order-1")] * times


def test_the_attempts_are_bounded() -> None:
    found, error = sent(["full"] * 4)
    assert (found, type(error)) == ([], BufferFull)
    assert error is not None
    assert error.definite


def test_an_earlier_unknown_attempt_makes_the_whole_unknown() -> None:
    found, error = sent(["lost", "too large"])
    assert len(found) == 1
    assert isinstance(error, RecordTooLarge)
    assert not error.definite, "the first attempt is there"


def test_what_is_not_retriable_is_raised_at_once() -> None:
    found, error = sent(["too large"])
    assert (found, type(error)) == ([], RecordTooLarge)
    assert error is not None
    assert error.definite


def test_coroutines_have_the_same() -> None:
    async def story() -> list[Any]:
        async with await streamproof.aconnect(f"memory://{uuid4().hex}") as bus:
            await (await bus.admin()).create_topic("orders")
            sender = AsyncConfirmedSender(await bus.producer(value="text"))
            for _ in range(2):
                await sender.send("orders", "v", record_id="order-1")
            return [record.header(RECORD_ID) for record in await (await bus.consumer("orders")).poll()]

    assert asyncio.run(story()) == [b"order-1", b"order-1"]
