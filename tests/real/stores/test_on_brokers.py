"""Effect-once from end to end, on every backend, in both colours: sent and delivered twice, applied once."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import streamproof
from streamproof import UsageError
from streamproof.delivery import (
    AsyncConfirmedSender,
    AsyncEffectOnce,
    AsyncSqliteStore,
    AsyncWorker,
    ConfirmedSender,
    EffectOnce,
    SqliteStore,
    Worker,
)

IDS = [f"order-{number}" for number in range(20)]
IDLE_S = 15.0
POLLS = 60


@pytest.fixture(params=["memory", "kafka", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> str:
    """A backend's URL, with a namespace of this test's own."""
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    given = str(request.getfixturevalue(f"{request.param}_url"))
    return f"{given}{'&' if '?' in given else '?'}namespace=once-{uuid4().hex[:8]}."


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The application's database."""
    path = str(tmp_path / "shop.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE charges (id TEXT)")
    return path


def charge(record: Any, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO charges VALUES (?)", (record.value,))


async def acharge(record: Any, connection: sqlite3.Connection) -> None:
    charge(record, connection)


def charges(place: str) -> list[str]:
    with closing(sqlite3.connect(place)) as connection:
        return sorted(id for (id,) in connection.execute("SELECT id FROM charges"))


def is_over(place: str, found: int) -> bool:
    """Nothing comes any more, and every order is charged."""
    return found == 0 and len(charges(place)) >= len(IDS)


def test_blocking(url: str, place: str) -> None:
    with streamproof.connect(url) as bus:
        bus.admin().create_topic("orders", partitions=2)
        first = bus.consumer("orders", group="billing", value="text", commit_interval_s=1000.0)
        first.wait_assigned()
        sender = ConfirmedSender(bus.producer(value="text"))
        for id in (*IDS, *IDS):
            sender.send("orders", id, key=id.encode(), record_id=id)
        store = SqliteStore(place)
        handler = EffectOnce(store, charge, scope="billing")
        # Handled, and never acknowledged: as a worker that dies behind its commit.
        handled = [handler(record) for record in first.poll(timeout_s=IDLE_S)]
        assert any(handled)
        first.close()
        worker = Worker(bus.consumer("orders", group="billing", value="text"), handler)
        polls = 0
        while not is_over(place, worker.run_once(1.0)):
            polls += 1
            assert polls < POLLS, charges(place)
        assert charges(place) == sorted(IDS)
        store.close()


def test_coroutines(url: str, place: str) -> None:
    async def story() -> None:
        async with await streamproof.aconnect(url) as bus:
            await (await bus.admin()).create_topic("orders", partitions=2)
            first = await bus.consumer("orders", group="billing", value="text", commit_interval_s=1000.0)
            await first.wait_assigned()
            sender = AsyncConfirmedSender(await bus.producer(value="text"))
            for id in (*IDS, *IDS):
                await sender.send("orders", id, key=id.encode(), record_id=id)
            store = AsyncSqliteStore(place)
            handler = AsyncEffectOnce(store, acharge, scope="billing")
            handled = [await handler(record) for record in await first.poll(timeout_s=IDLE_S)]
            assert any(handled)
            await first.close()
            worker = AsyncWorker(await bus.consumer("orders", group="billing", value="text"), handler)
            polls = 0
            while not is_over(place, await worker.run_once(1.0)):
                polls += 1
                assert polls < POLLS, charges(place)
            assert charges(place) == sorted(IDS)
            await store.close()

    asyncio.run(story())


def test_a_record_without_an_id_is_refused_where_groups_have_no_offsets(url: str, place: str) -> None:
    with streamproof.connect(url) as bus:
        bus.admin().create_topic("orders")
        consumer = bus.consumer("orders", group="billing", value="text")
        consumer.wait_assigned()
        bus.producer(value="text").send("orders", "no id").result()
        store = SqliteStore(place)
        handler = EffectOnce(store, charge, scope="billing")
        (record,) = consumer.poll(timeout_s=IDLE_S)
        if bus.capabilities.has_group_offsets:
            assert [handler(record), handler(record)] == [True, False]
        else:
            with pytest.raises(UsageError, match="let its producer set the header"):
                handler(record)
        assert charges(place) == (["no id"] if bus.capabilities.has_group_offsets else [])
        store.close()
