"""The cases that only coroutines have, against broken async backends. The others are generated for
both colours from one source, and are caught failing in ``test_the_suite_catches.py``."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from streamproof import AsyncBus, AsyncDelivery, Closed
from streamproof.drivers import memory
from streamproof.settings import resolve
from streamproof.url import parse_address
from streamproof_harness.conformance import AsyncConformanceSuite
from streamproof_harness.conformance._async.concurrency import AsyncConcurrency

_numbers = itertools.count()


class Through:
    """Passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Driver(Through):
    """Makes broken parts at the seam."""

    Producer: type[Through] = Through
    Consumer: type[Through] = Through

    async def producer(self, options: Any) -> Any:
        return self.Producer(await self.inner.producer(options))

    async def consumer(self, options: Any) -> Any:
        return self.Consumer(await self.inner.consumer(options))


class LosesWhenCancelled(Driver):
    class Consumer(Through):
        async def poll(self, *bounds: Any) -> Any:
            found = await self.inner.poll(*bounds)
            await asyncio.sleep(0)
            return found


class BlocksTheLoop(Driver):
    class Consumer(Through):
        async def poll(self, max_records: int, timeout_s: float) -> Any:
            found = await self.inner.poll(max_records, 0.0)
            if not found:
                time.sleep(timeout_s)  # noqa: ASYNC251
            return found


class SwapsTwo(Driver):
    class Producer(Through):
        async def send(self, topic: str, value: Any, *rest: Any) -> Any:
            swapped = {b"5": b"6", b"6": b"5"}.get(value, value)
            return await self.inner.send(topic, swapped, *rest)


class IgnoresCommit(Driver):
    class Consumer(Through):
        async def commit(self, *arguments: Any) -> None:
            """Nothing."""


class CancelsForEverybody(Driver):
    class Producer(Through):
        async def send(self, *arguments: Any) -> Any:
            await self.inner.send(*arguments)
            return _OneForAll()


class _OneForAll(AsyncDelivery):
    __slots__ = ("shared",)

    async def result(self, timeout_s: float | None = 30.0) -> Any:
        if not hasattr(self, "shared"):
            self.shared = asyncio.get_running_loop().create_future()
        return await self.shared


class ClosesInSilence(Driver):
    class Consumer(Through):
        async def poll(self, *bounds: Any) -> Any:
            try:
                return await self.inner.poll(*bounds)
            except Closed:
                return []

    class HeldConsumer(Through):
        async def poll(self, *bounds: Any, **more: Any) -> Any:
            try:
                return await self.inner.poll(*bounds, **more)
            except Closed:
                return []


class IteratesIntoTheClose(Driver):
    class HeldConsumer(Through):
        async def __aiter__(self) -> Any:
            async for record in self.inner:
                yield record
            raise Closed("while it iterated")


CAUGHT = {
    "test_close_ends_an_iteration": IteratesIntoTheClose,
    "test_cancelled_polls_lose_nothing": LosesWhenCancelled,
    "test_others_run_while_a_poll_waits": BlocksTheLoop,
    "test_tasks_share_a_producer": SwapsTwo,
    "test_acks_come_from_other_tasks": IgnoresCommit,
    "test_a_delivery_is_awaited_by_several_and_survives_a_cancelled_one": CancelsForEverybody,
    "test_close_wakes_a_waiting_poll": ClosesInSilence,
}


def suite_on(broken: type[Driver], patience_s: float) -> type[AsyncConformanceSuite]:
    name = f"async-mutant-{next(_numbers)}"

    async def connect(self: Any, url: str | None = None, **settings: Any) -> Any:
        driver: Any = broken(await memory.open_async_driver(parse_address(self.url), 5.0))
        bus = AsyncBus(driver, resolve(self.url, settings))
        held = getattr(broken, "HeldConsumer", None)
        return bus if held is None else _Bus(bus, held)

    own = {"url": f"memory://{name}", "patience_s": patience_s, "connect": connect}
    return type("MutantSuite", (AsyncConformanceSuite,), own)


class _Bus(Through):
    def __init__(self, inner: Any, held: type[Through]) -> None:
        super().__init__(inner)
        self.held = held

    async def consumer(self, *topics: str, **options: Any) -> Any:
        return self.held(await self.inner.consumer(*topics, **options))


def run(suite: type[AsyncConformanceSuite], case: str) -> BaseException | None:
    try:
        getattr(suite(), case)()
    except (Exception, pytest.fail.Exception, asyncio.CancelledError) as red:
        return red
    finally:
        suite.teardown_class()
    return None


@pytest.mark.parametrize("case", sorted(CAUGHT))
def test_a_mutant_turns_the_case_red(case: str) -> None:
    assert run(suite_on(CAUGHT[case], 0.5), case) is not None


@pytest.mark.parametrize("case", sorted(CAUGHT))
def test_the_case_is_green_without_a_fault(case: str) -> None:
    red = run(suite_on(Driver, 30.0), case)
    if red is not None:
        raise red


def test_every_case_is_caught_failing() -> None:
    own = {name for name in vars(AsyncConcurrency) if name.startswith("test_")}
    assert own == set(CAUGHT)
