"""Outboxes: what is committed is published, in order, none lost; on both databases, in both colours."""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

import streamproof
from streamproof import BufferFull, Closed, ConfigurationError, DeliveryUnknown, RecordTooLarge, UsageError
from streamproof.delivery import RECORD_ID, Retry
from streamproof.delivery.stores.outbox import Horizon
from tests.real.stores.outboxes import TOPIC, Yard, called, until

ORDERS = pytest.mark.parametrize("order", ["total", "key"])


async def publish_all(relay: Any) -> int:
    """Publish until nothing is left that can be."""
    published = 0
    while (batch := await called(relay.run_once)) > 0:
        published += batch
    return published


@ORDERS
def test_what_is_committed_is_published_in_order(yard: Yard, order: str) -> None:
    async def story() -> None:
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer), order=order, max_records=4)
            await yard.add_and_commit("a1", "a2", key="k")
            await yard.add_and_commit(*(f"b{number}" for number in range(9)), key="k")
            assert await publish_all(relay) == 11
            assert await yard.firsts() == ["a1", "a2", *(f"b{number}" for number in range(9))]
            assert len(await yard.published()) == 11
            assert yard.rows() == []
            assert await called(relay.run_once) == 0
            await called(relay.close)

    asyncio.run(story())


def test_records_arrive_as_they_were_added(yard: Yard) -> None:
    async def story() -> None:
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer))
            async with yard.transaction() as connection:
                id = await called(
                    yard.outbox.add,
                    connection,
                    TOPIC,
                    b"\x00\xff",
                    key=b"\x00",
                    headers={"h": "x", "n": None},
                )
                await called(yard.outbox.add, connection, TOPIC, None, key=b"gone", record_id="order-7")
            assert await publish_all(relay) == 2
            async with await streamproof.aconnect(yard.url) as other:
                first, second = await (await other.consumer(TOPIC)).poll()
            assert (first.key, first.value) == (b"\x00", b"\x00\xff")
            assert first.headers == (("h", b"x"), ("n", None), (RECORD_ID, id.encode()))
            assert (second.key, second.value, second.header(RECORD_ID)) == (b"gone", None, b"order-7")
            await called(relay.close)

    asyncio.run(story())


def test_what_is_rolled_back_is_never_published(yard: Yard) -> None:
    """The table, too, comes and goes with the transaction that first needs it."""

    async def story() -> None:
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer))
            for attempt in range(2):
                connection = await yard.connect()
                await yard.add(connection, f"undone {attempt}")
                await yard.add(connection, f"undone too {attempt}")
                await called(connection.rollback)
                await called(connection.close)
            await yard.add_and_commit("done")
            await yard.add_and_commit("done too")
            assert await publish_all(relay) == 2
            assert await yard.firsts() == ["done", "done too"]
            await called(relay.close)

    asyncio.run(story())


async def interleave(yard: Yard, *, commits: bool) -> list[list[str]]:
    """The trap of sequences: the lower id is committed after the higher one. What was published before
    anything, while the lower is open, and after its end."""
    shown = []
    async with yard.bus() as bus:
        relay = yard.relay(await called(bus.producer))
        await yard.add_and_commit("before")
        await publish_all(relay)
        slow = await yard.connect()
        await yard.add(slow, "slow")
        await yard.add_and_commit("quick")
        await publish_all(relay)
        shown.append(await yard.firsts())
        await yard.add_and_commit("later")
        await publish_all(relay)
        shown.append(await yard.firsts())
        await called(slow.commit if commits else slow.rollback)
        await called(slow.close)
        await publish_all(relay)
        shown.append(await yard.firsts())
        await called(relay.close)
    return shown


def test_a_lower_id_that_commits_later_is_waited_for(postgresql_yard: Yard) -> None:
    assert asyncio.run(interleave(postgresql_yard, commits=True)) == [
        ["before"],
        ["before"],
        ["before", "slow", "quick", "later"],
    ]


def test_a_lower_id_that_is_rolled_back_holds_nothing_back(postgresql_yard: Yard) -> None:
    shown = asyncio.run(interleave(postgresql_yard, commits=False))
    assert shown == [["before"], ["before"], ["before", "quick", "later"]]


def test_that_test_finds_a_relay_without_a_horizon(postgresql_yard: Yard, monkeypatch: Any) -> None:
    monkeypatch.setattr(Horizon, "look", lambda self, last_id, adders: last_id)
    shown = asyncio.run(interleave(postgresql_yard, commits=True))
    assert shown[-1] == ["before", "quick", "later", "slow"]


def test_a_prepared_transaction_is_waited_for(postgresql_yard: Yard) -> None:
    """Two-phase commit: its locks go over to another name."""
    yard = postgresql_yard

    async def story() -> None:
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer))
            await yard.add_and_commit("before")
            await publish_all(relay)
            slow = await yard.connect()
            await called(slow.tpc_begin, slow.xid(1, yard.table, "branch"))
            await yard.add(slow, "slow")
            await yard.add_and_commit("quick")
            await publish_all(relay)
            await called(slow.tpc_prepare)
            for _ in range(3):
                await publish_all(relay)
            assert await yard.firsts() == ["before"]
            await called(slow.tpc_commit)
            await called(slow.close)
            await publish_all(relay)
            assert await yard.firsts() == ["before", "slow", "quick"]
            await called(relay.close)

    asyncio.run(story())


def test_the_id_is_drawn_behind_the_lock(postgresql_yard: Yard) -> None:
    """Else a relay could look in between, and find an id that nobody seems to be adding."""
    yard = postgresql_yard

    async def story() -> None:
        await yard.add_and_commit("first")
        blocker, adder = await yard.connect(), await yard.connect()
        table = yard.outbox._table
        await called(blocker.execute, "SELECT pg_advisory_xact_lock(%s, %s)", table.adding)
        adding = asyncio.create_task(yard.add(adder, "second"))
        await until(lambda: waiters(blocker, table.adding_as_oids))
        cursor = await called(blocker.execute, table.last_id, (table.name,))
        assert await called(cursor.fetchone) == (1,)
        await called(blocker.rollback)
        await adding
        await called(adder.commit)
        for connection in (blocker, adder):
            await called(connection.close)

    async def waiters(connection: Any, lock: tuple[int, int]) -> bool:
        query = "SELECT 1 FROM pg_locks WHERE NOT granted AND classid = %s AND objid = %s"
        return bool((await called(connection.execute, query, lock)).rowcount)

    asyncio.run(story())


def test_many_add_at_once_and_the_order_is_that_of_the_ids(postgresql_yard: Yard) -> None:
    yard = postgresql_yard
    committed: dict[str, int] = {}

    async def write(writer: int) -> None:
        draw = random.Random(writer)
        for number in range(12):
            connection = await yard.connect()
            mine: dict[str, int] = {}
            for part in range(draw.randint(1, 3)):
                value = f"{writer}/{number}/{part}"
                await yard.add(connection, value, key=f"k{writer}")
                cursor = await called(connection.execute, "SELECT lastval()")
                (mine[value],) = await called(cursor.fetchone)
                await asyncio.sleep(draw.random() * 0.01)
            if draw.random() < 0.8:
                await called(connection.commit)
                committed.update(mine)
            else:
                await called(connection.rollback)
            await called(connection.close)

    async def story() -> None:
        await called(yard.outbox.create)
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer), max_records=5, poll_interval_s=0.01)
            await yard.run_until_empty(relay, asyncio.gather(*(write(writer) for writer in range(4))))
            assert await yard.firsts() == sorted(committed, key=lambda value: committed[value])

    asyncio.run(story())


def test_one_relay_works_and_the_others_stand_by(yard: Yard) -> None:
    async def story() -> None:
        async with yard.bus() as bus:
            producer = await called(bus.producer)
            first, second = yard.relay(producer), yard.relay(producer)
            await yard.add_and_commit("a")
            assert await called(first.run_once) == 1
            await yard.add_and_commit("b")
            assert await called(second.run_once) == 0
            assert await called(first.run_once) == 1
            await yard.add_and_commit("c")
            await called(first.close)
            await called(first.close)
            with pytest.raises(Closed, match="make a new one"):
                await called(first.run_once)
            assert await called(second.run_once) == 1
            await called(second.close)
            assert await yard.published() == await yard.published()
            assert [value for value, _ in await yard.published()] == ["a", "b", "c"]

    asyncio.run(story())


class FaultyProducer:
    """A real producer whose sends of one value fail in a given way, as often as told."""

    def __init__(self, producer: Any, value: bytes, error: Exception, times: int, where: str) -> None:
        self.producer, self.value, self.error = producer, value, error
        self.times, self.where = times, where
        self.flying = self.most_flying = 0

    def _strikes(self, value: bytes, where: str) -> bool:
        if value != self.value or where != self.where or self.times == 0:
            return False
        self.times -= 1
        return True

    def flown(self, value: bytes) -> "Flight":
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        return Flight(self, value)


class Flight:
    """The delivery of one such send."""

    def __init__(self, plan: FaultyProducer, value: bytes) -> None:
        self.plan, self.value, self.delivery = plan, value, None

    def landed(self) -> None:
        self.plan.flying -= 1
        if self.plan._strikes(self.value, "result") or self.plan._strikes(self.value, "lost answer"):
            raise self.plan.error


class BlockingFlight(Flight):
    def result(self, timeout_s: float) -> Any:
        self.landed()
        return self.delivery.result(timeout_s)


class AwaitedFlight(Flight):
    async def result(self, timeout_s: float) -> Any:
        self.landed()
        return await self.delivery.result(timeout_s)


class BlockingFaulty(FaultyProducer):
    def send(self, topic: str, value: bytes, **options: Any) -> Any:
        if self._strikes(value, "send"):
            raise self.error
        flight = BlockingFlight(self, value)
        self.flown(value)
        if self.where != "result" or value != self.value or self.times == 0:
            flight.delivery = self.producer.send(topic, value, **options)
        return flight


class AwaitedFaulty(FaultyProducer):
    async def send(self, topic: str, value: bytes, **options: Any) -> Any:
        if self._strikes(value, "send"):
            raise self.error
        flight = AwaitedFlight(self, value)
        self.flown(value)
        if self.where != "result" or value != self.value or self.times == 0:
            flight.delivery = await self.producer.send(topic, value, **options)
        return flight


FAULTS = {
    "refused at once": (BufferFull("full"), "send"),
    "certainly failed": (DeliveryUnknown("failed", definite=True), "result"),
    "unknown, and stored": (DeliveryUnknown("no answer"), "lost answer"),
    "unknown, and not stored": (DeliveryUnknown("no answer"), "result"),
}


@ORDERS
@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_is_not_overtaken_and_not_lost(yard: Yard, order: str, fault: str) -> None:
    error, where = FAULTS[fault]

    async def story() -> None:
        async with yard.bus() as bus:
            faulty = (AwaitedFaulty if yard.is_async else BlockingFaulty)(
                await called(bus.producer), b"3", error, 2, where
            )
            relay = yard.relay(faulty, order=order, retry=Retry("fixed", max_attempts=3, base_s=0.0))
            await yard.add_and_commit(*"12345", key="one lane")
            await yard.add_and_commit("x", "y", key="another")
            await yard.run_until_empty(relay)
            firsts = await yard.firsts()
            assert [value for value in firsts if value in "12345"] == [*"12345"]
            assert [value for value in firsts if value in "xy"] == ["x", "y"]
            if order == "total":
                assert firsts == [*"12345xy"]
                assert faulty.most_flying == 1
            else:
                assert faulty.most_flying == 2
            times = [value for value, _ in await yard.published()].count("3")
            assert times == (3 if where == "lost answer" else 1)

    asyncio.run(story())


@ORDERS
def test_what_can_never_be_published_stops_the_relay_and_says_which(yard: Yard, order: str) -> None:
    async def story() -> None:
        async with yard.bus() as bus:
            faulty = (AwaitedFaulty if yard.is_async else BlockingFaulty)(
                await called(bus.producer), b"2", RecordTooLarge("too large"), -1, "result"
            )
            relay = yard.relay(faulty, order=order)
            await yard.add_and_commit("1", "2", "3", key="lane")
            await yard.add_and_commit("other", key="other")
            with pytest.raises(RecordTooLarge) as found:
                await called(relay.run)
            assert "row 2 of the outbox, for topic events, was not published" in str(found.value.__notes__)
            assert yard.rows() == (["2", "3", "other"] if order == "total" else ["2", "3"])
            await called(relay.close)

    asyncio.run(story())


def test_adding_wrongly_is_refused(yard: Yard) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(yard.transaction())
            for value, options in (("text", {}), (b"v", {"key": "text"}), (b"v", {"record_id": ""})):
                with pytest.raises(UsageError):
                    await called(yard.outbox.add, connection, TOPIC, value, **options)
            with pytest.raises(UsageError, match="no topic name"):
                await called(yard.outbox.add, connection, "a b", b"v")
            with pytest.raises(UsageError, match="of the transaction, not a str"):
                await called(yard.outbox.add, "connection", TOPIC, b"v")
            await called(yard.make(value="json").add, connection, TOPIC, {"a": 1})
        assert yard.rows() == ['{"a":1}']

        alone = await yard.connect()
        if hasattr(alone, "set_autocommit"):
            await called(alone.set_autocommit, True)
        else:
            alone.isolation_level = None
        with pytest.raises(UsageError, match="not inside of a transaction"):
            await called(yard.outbox.add, alone, TOPIC, b"v")
        await called(alone.close)

    asyncio.run(story())


@pytest.mark.parametrize("table", ["", "a b", 'a"b', "a.b.c", "1a", "x" * 51, "a;b", None])
def test_a_table_has_a_plain_name(yard: Yard, table: Any) -> None:
    yard.table = table
    with pytest.raises(ConfigurationError, match="no table's name"):
        yard.make()


def test_options_are_checked(yard: Yard) -> None:
    for options in ({"order": "none"}, {"poll_interval_s": 0.0}, {"delivery_timeout_s": -1.0}):
        with pytest.raises(ConfigurationError):
            yard.relay(None, **options)
    with pytest.raises(UsageError):
        yard.relay(None, max_records=0)
