"""Effects that are applied once although records come twice: over a log, with a worker, in both colours."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

import streamproof
from streamproof import Record, UsageError
from streamproof.delivery import (
    RECORD_ID,
    AsyncEffectOnce,
    AsyncMemoryStore,
    AsyncWorker,
    EffectOnce,
    Lease,
    MemoryStore,
    Retry,
    Worker,
    aeffect_once,
    effect_once,
)


@pytest.fixture
def bus() -> Any:
    with streamproof.connect(f"memory://{uuid4().hex}") as bus:
        bus.admin().create_topic("orders", partitions=2)
        yield bus


def work(worker: Worker) -> None:
    while worker.run_once(0.05):
        pass


def test_a_record_that_is_delivered_again_has_its_effect_once(bus: Any) -> None:
    """The first worker dies between handling and storing its progress."""
    charged: list[str] = []
    charge = EffectOnce(MemoryStore(), lambda record, lease: charged.append(record.value), scope="billing")
    with bus.producer(value="text") as producer:
        for number in range(5):
            producer.send("orders", f"order-{number}", key=b"k").result()
    first = bus.consumer("orders", group="billing", value="text", commit_interval_s=1000.0)
    for record in first.poll():
        charge(record)
    assert len(charged) == 5
    first.close()
    second = bus.consumer("orders", group="billing", value="text")
    work(Worker(second, charge))
    assert sorted(charged) == [f"order-{number}" for number in range(5)]


def test_a_record_that_is_sent_again_has_its_effect_once(bus: Any) -> None:
    charged: list[str] = []

    @effect_once(MemoryStore(), scope="billing")
    def charge(record: Record[Any, Any], lease: Lease) -> None:
        assert not lease.is_doubtful
        charged.append(record.value)

    with bus.producer(value="text") as producer:
        for id in ("a", "b", "a", "a"):
            producer.send("orders", id, headers={RECORD_ID: id}).result()
        producer.send("orders", "without an id").result()
        producer.send("orders", "without an id").result()
    work(Worker(bus.consumer("orders", group="billing", value="text"), charge))
    assert sorted(charged) == ["a", "b", "without an id", "without an id"]


def test_each_scope_has_its_own_effect() -> None:
    store = MemoryStore()
    applied: list[str] = []
    handlers = [
        EffectOnce(store, lambda record, lease, scope=scope: applied.append(scope), scope=scope)
        for scope in ("billing", "mailing")
    ]
    record = Record("orders", 0, 3, None, b"v")
    assert [handler(record) for handler in handlers * 2] == [True, True, False, False]
    assert applied == ["billing", "mailing"]


def test_a_failed_effect_is_tried_again_and_then_marked(bus: Any) -> None:
    attempts: list[int] = []

    def charge(record: Record[Any, Any], lease: Lease) -> None:
        attempts.append(record.attempt)
        if record.attempt < 3:
            raise ValueError("not yet")

    with bus.producer() as producer:
        producer.send("orders", b"v").result()
    consumer = bus.consumer("orders", group="billing")
    handler = EffectOnce(MemoryStore(), charge, scope="billing")
    worker = Worker(consumer, handler, retry=Retry("fixed", max_attempts=5, base_s=0.0))
    while len(attempts) < 3:
        worker.run_once(0.05)
    assert attempts == [1, 2, 3]
    assert consumer.in_flight == 0


def test_a_record_without_identity_is_refused_and_not_handled() -> None:
    called: list[Any] = []
    handler = EffectOnce(MemoryStore(), lambda *given: called.append(given), scope="billing")
    with pytest.raises(UsageError, match="let its producer set the header"):
        handler(Record("orders", 0, None, None, b"v"))
    by_value = EffectOnce(
        MemoryStore(), lambda *given: called.append(given), scope="billing", key=lambda record: record.value
    )
    assert by_value(Record("orders", 0, None, None, "v"))
    assert len(called) == 1


def test_coroutines_have_the_same() -> None:
    charged: list[str] = []

    async def story() -> None:
        store = AsyncMemoryStore()

        @aeffect_once(store, scope="billing")
        async def charge(record: Record[Any, Any], lease: Lease) -> None:
            await asyncio.sleep(0)
            charged.append(record.value)

        assert isinstance(charge, AsyncEffectOnce)
        async with await streamproof.aconnect(f"memory://{uuid4().hex}") as bus:
            await (await bus.admin()).create_topic("orders")
            producer = await bus.producer(value="text")
            for id in ("a", "b", "a"):
                await (await producer.send("orders", id, headers={RECORD_ID: id}))
            worker = AsyncWorker(await bus.consumer("orders", group="billing", value="text"), charge)
            while await worker.run_once(0.05):
                pass

    asyncio.run(story())
    assert charged == ["a", "b"]


@pytest.mark.parametrize("scope", ["", None, "x" * 300])
def test_a_scope_is_needed(scope: Any) -> None:
    with pytest.raises(streamproof.ConfigurationError, match="scope"):
        EffectOnce(MemoryStore(), print, scope=scope)


@pytest.mark.parametrize(
    "options", [{"lease_s": 0}, {"retention_s": -1}, {"timeout_s": "1"}, {"max_marks": 0}]
)
def test_limits_are_checked(options: dict[str, Any]) -> None:
    for store in (MemoryStore, AsyncMemoryStore):
        with pytest.raises(streamproof.ConfigurationError, match=next(iter(options))):
            store(**options)


def test_an_effect_that_outlasts_its_lease_is_told() -> None:
    store = MemoryStore(lease_s=0.01)

    def outlast() -> None:
        with store.once("k") as first:
            assert first is not None
            with store.once("k") as second:
                assert second is not None
                assert second.is_doubtful

    with pytest.raises(streamproof.TimedOut, match="make lease_s longer") as found:
        outlast()
    assert (found.value.definite, found.value.retriable) == (False, True)
    with store.once("k") as third:
        assert third is None
