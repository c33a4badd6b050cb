"""Redis' scripts follow the table of marks step by step; and what a lease that ran out means there."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamproof import AccessDenied, ConfigurationError, TimedOut
from streamproof.delivery import AsyncRedisStore, RedisStore
from streamproof.delivery.stores.marks import Marks
from streamproof.delivery.stores.redis import CLAIM, FINISH, RELEASE
from tests.real.stores.claims import attempt
from tests.real.stores.grounds import RedisGround, Store

HOUR_S = 3600.0
STATES = {0: "claimed", 1: "done", 2: "held"}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim for no time", "finish", "release"]), st.sampled_from(["a", "b", "c"])
    ),
    max_size=12,
)


@pytest.mark.redis
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_the_scripts_follow_the_table(database_url: Any, steps: list[tuple[str, str]]) -> None:
    client = redis.Redis.from_url(database_url("redis"))
    key = uuid4().hex
    claim, finish, release = (client.register_script(script) for script in (CLAIM, FINISH, RELEASE))
    table = Marks(HOUR_S, HOUR_S, 10)
    now_s = 0.0
    hour_ms = round(1000 * HOUR_S)
    for verb, token in steps:
        now_s += 1e-3
        if verb.startswith("claim"):
            # A lease without duration has run out as soon as it is there.
            table._lease_s, lease_ms = (HOUR_S, hour_ms) if verb == "claim" else (0.0, 0)
            code, number = claim(keys=[key], args=[token, lease_ms, hour_ms])
            expected = table.claim("k", token, now_s)
            assert STATES[code] == expected.state, steps
            if expected.state == "claimed":
                assert bool(number) == expected.is_doubtful, steps
            if expected.state == "held":
                assert 0 < number <= hour_ms
        elif verb == "finish":
            assert bool(finish(keys=[key], args=[token, hour_ms])) == table.finish("k", token, now_s), steps
        else:
            release(keys=[key], args=[token])
            table.release("k", token, now_s)
            assert client.exists(key) == len(table), steps
        # Nothing is kept for ever.
        assert client.pttl(key) != -1
    client.close()


def test_an_effect_that_outlasts_its_lease_is_told(redis_ground: RedisGround) -> None:
    async def outlast(store: Store) -> None:
        async with store.once("a") as first:
            assert not first.is_doubtful
            async with store.once("a") as second:
                assert second.is_doubtful

    async def story() -> None:
        store = redis_ground.open(lease_s=0.05)
        with pytest.raises(TimedOut, match="make lease_s longer") as found:
            await outlast(store)
        assert (found.value.definite, found.value.retriable) == (False, True)
        assert not await attempt(redis_ground, store, "a")
        await store.close()

    asyncio.run(story())


def test_a_client_of_the_application_s_own_stays_open(redis_ground: RedisGround) -> None:
    ground = redis_ground

    async def story() -> None:
        kind = redis.asyncio.Redis if ground.is_async else redis.Redis
        for decodes in (False, True):
            client = kind.from_url(ground.place, decode_responses=decodes)
            make = AsyncRedisStore if ground.is_async else RedisStore
            store = make(client, prefix=f"{ground.unique}:{decodes}:")
            if ground.is_async:
                async with store.once("a") as lease:
                    assert lease is not None
                async with store.once("a") as lease:
                    assert lease is None
                await store.close()
                assert await client.ping()
                await client.aclose()
            else:
                with store.once("a") as lease:
                    assert lease is not None
                with store.once("a") as lease:
                    assert lease is None
                store.close()
                assert client.ping()
                client.close()

    asyncio.run(story())


def test_a_user_without_rights_is_told(redis_ground: RedisGround) -> None:
    with redis.Redis.from_url(redis_ground.place) as admin:
        admin.acl_setuser(
            redis_ground.unique, enabled=True, passwords=["+right"], commands=["+get"], keys=["*"]
        )
    for user, password in ((redis_ground.unique, "right"), (redis_ground.unique, "wrong")):
        url = redis_ground.place.replace("redis://", f"redis://{user}:{password}@")
        ground = RedisGround(url, "async" if redis_ground.is_async else "sync")

        async def story(ground: RedisGround = ground) -> None:
            store = ground.open()
            with pytest.raises(AccessDenied):
                await attempt(ground, store, "a")
            await store.close()

        asyncio.run(story())
    with redis.Redis.from_url(redis_ground.place) as admin:
        admin.acl_deluser(redis_ground.unique)


@pytest.mark.parametrize("url", ["http://h", "secret@h", ""])
def test_a_wrong_address_is_told_and_not_shown(url: str) -> None:
    for make in (RedisStore, AsyncRedisStore):
        with pytest.raises(ConfigurationError, match="redis://host") as found:
            make(url)
        assert "secret" not in str(found.value)
