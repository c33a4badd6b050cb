"""A store that is down, hangs, comes back: one error that says so, nothing half-visible, and on as before."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamproof import StreamproofError, TimedOut, Unreachable
from streamproof.errors import TransactionUnknown
from streamproof_harness import servers
from tests.real.stores.claims import attempt
from tests.real.stores.grounds import Ground, PostgresqlGround, RedisGround, Store
from tests.real.stores.outboxes import PostgresqlYard, called, until

Private = Callable[[servers.Database], Any]


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    """Databases of this module's own, to be harmed."""
    started: dict[str, servers.Server] = {}

    def start(kind: servers.Database) -> Any:
        how = servers.find_database(kind, private=True)
        if isinstance(how, servers.Absent):
            if os.environ.get("CI"):
                pytest.fail(f"with CI set a missing database is a failure: {how}", pytrace=False)
            pytest.skip(str(how))
        if kind not in started:
            started[kind] = servers.start_database(kind, private=True)
        return started[kind]

    yield start
    for server in started.values():
        server.stop()


@pytest.fixture(params=["sync", "async"])
def postgresql(request: pytest.FixtureRequest, private: Private) -> tuple[PostgresqlGround, Any]:
    server = private("postgresql")
    return PostgresqlGround(server.url, request.param), server


@pytest.fixture(params=["sync", "async"])
def redis(request: pytest.FixtureRequest, private: Private) -> tuple[RedisGround, Any]:
    server = private("redis")
    return RedisGround(server.url, request.param), server


async def down_and_up(ground: Ground, server: Any) -> None:
    store = ground.open(timeout_s=1.0)
    assert await attempt(ground, store, "before")
    server.kill()
    for _ in range(2):
        with pytest.raises(Unreachable) as found:
            await attempt(ground, store, "a")
        assert (found.value.retriable, found.value.definite) == (True, True)
    server.restart()
    # At once: connections that broke meanwhile are nobody's business.
    assert not await attempt(ground, store, "before")
    assert await attempt(ground, store, "a")
    assert (ground.count("before"), ground.count("a")) == (1, 1)
    await store.close()


@pytest.mark.postgresql
def test_postgresql_goes_and_comes_back(postgresql: tuple[PostgresqlGround, Any]) -> None:
    asyncio.run(down_and_up(*postgresql))


@pytest.mark.redis
def test_redis_goes_and_comes_back(redis: tuple[RedisGround, Any]) -> None:
    asyncio.run(down_and_up(*redis))


@pytest.mark.postgresql
def test_idle_connections_that_the_server_dropped_are_replaced(
    postgresql: tuple[PostgresqlGround, Any],
) -> None:
    ground, _ = postgresql

    async def story() -> None:
        store = ground.open()
        await asyncio.gather(*(attempt(ground, store, f"b{number}") for number in range(4)))
        ground.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert await attempt(ground, store, "a")
        await store.close()

    asyncio.run(story())


@pytest.mark.postgresql
@pytest.mark.parametrize("is_swallowed", [False, True])
def test_postgresql_dies_under_a_handler(
    postgresql: tuple[PostgresqlGround, Any], is_swallowed: bool
) -> None:
    """Also where the handler takes no notice: nothing of it can have been stored."""
    ground, server = postgresql

    async def die(store: Store) -> None:
        async with store.once("a") as connection:
            await ground.apply(connection, "a")
            server.kill()
            try:
                await ground.apply(connection, "a")
            except Exception:
                if not is_swallowed:
                    raise

    async def story() -> None:
        store = ground.open(timeout_s=2.0)
        with pytest.raises(Unreachable if is_swallowed else Exception):
            await die(store)
        server.restart()
        assert ground.count("a") == 0
        assert await attempt(ground, store, "a")
        assert ground.count("a") == 1
        await store.close()

    asyncio.run(story())


@pytest.mark.postgresql
def test_a_commit_without_an_answer_is_unknown_and_the_mark_tells(
    postgresql: tuple[PostgresqlGround, Any],
) -> None:
    ground, server = postgresql

    async def hang(store: Store) -> None:
        async with store.once("a") as connection:
            await ground.apply(connection, "a")
            server.pause()

    async def story() -> None:
        store = ground.open(timeout_s=0.5)
        try:
            with pytest.raises(TransactionUnknown) as found:
                await hang(store)
            assert (found.value.retriable, found.value.definite) == (True, False)
            with pytest.raises(StreamproofError) as refused:
                await attempt(ground, store, "b")
            assert refused.value.retriable
        finally:
            server.resume()

        async def is_free() -> bool:
            # Until the server noticed that its client is gone, the key is held.
            try:
                await attempt(ground, store, "a")
            except (TimedOut, Unreachable):
                return False
            return True

        await until(is_free)
        assert ground.count("a") == 1
        assert not await attempt(ground, store, "a")
        await store.close()

    asyncio.run(story())


@pytest.mark.redis
def test_a_claim_without_an_answer_does_not_lock_its_asker_out(redis: tuple[RedisGround, Any]) -> None:
    """Redis may carry it out when it goes on; the lease is long, and the same worker asks again."""
    ground, server = redis

    async def story() -> None:
        store = ground.open(timeout_s=0.3, lease_s=1000.0)
        assert await attempt(ground, store, "before")
        server.pause()
        try:
            with pytest.raises(Unreachable):
                await attempt(ground, store, "a")
        finally:
            server.resume()

        async def is_applied() -> bool:
            try:
                async with store.once("a") as lease:
                    assert lease is not None
                    assert not lease.is_doubtful
                    await ground.apply(lease, "a")
            except Unreachable:
                return False
            return True

        await until(is_applied)
        assert ground.count("a") == 1
        await store.close()

    asyncio.run(story())


@pytest.mark.redis
def test_a_confirmation_is_tried_until_redis_is_back(redis: tuple[RedisGround, Any]) -> None:
    ground, server = redis

    async def story() -> None:
        store = ground.open(timeout_s=20.0)
        async with store.once("a") as lease:
            await ground.apply(lease, "a")
            server.kill()
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
        await restarting
        assert not await attempt(ground, store, "a")
        assert ground.count("a") == 1
        await store.close()

    asyncio.run(story())


@pytest.mark.redis
def test_a_confirmation_that_fails_says_that_the_effect_was_applied(redis: tuple[RedisGround, Any]) -> None:
    ground, server = redis

    async def die(store: Store) -> None:
        async with store.once("a") as lease:
            await ground.apply(lease, "a")
            server.kill()

    async def story() -> None:
        store = ground.open(timeout_s=0.3, lease_s=0.3)
        with pytest.raises(Unreachable, match="was applied") as found:
            await die(store)
        assert (found.value.retriable, found.value.definite) == (True, False)
        server.restart()

        async def is_in_doubt() -> bool:
            try:
                async with store.once("a") as lease:
                    return lease is not None and lease.is_doubtful
            except TimedOut:
                return False

        await until(is_in_doubt)
        await store.close()

    asyncio.run(story())


@pytest.mark.redis
def test_who_fails_while_redis_is_down_is_told_of_his_own_error(redis: tuple[RedisGround, Any]) -> None:
    ground, server = redis

    async def fail(store: Store) -> None:
        async with store.once("a"):
            server.kill()
            raise ValueError("the handler's")

    async def story() -> None:
        store = ground.open(timeout_s=0.3)
        with pytest.raises(ValueError, match="the handler's") as found:
            await fail(store)
        assert "could not be given back, and runs out" in found.value.__notes__[0]
        server.restart()
        await store.close()

    asyncio.run(story())


@pytest.mark.postgresql
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_relay_outlives_its_database(private: Private, colour: str) -> None:
    server = private("postgresql")
    yard = PostgresqlYard(server.url, colour)

    async def story() -> None:
        async with yard.bus() as bus:
            relay = yard.relay(await called(bus.producer), poll_interval_s=0.01)
            running = asyncio.create_task(called(relay.run))
            await yard.add_and_commit("a", "b")
            await until(yard.is_empty)
            server.kill()
            server.restart()
            await yard.add_and_commit("c")
            await until(yard.is_empty)
            relay.stop()
            await running
            await called(relay.close)
            assert await yard.firsts() == ["a", "b", "c"]

    asyncio.run(story())
