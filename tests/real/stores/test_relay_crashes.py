"""A relay that dies at each step in turn: what it leaves is published by the next, in order, none lost."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import streamproof
from streamproof.delivery import RECORD_ID
from tests.real.stores.outboxes import TOPIC, Yard, called, until

VALUES = [f"v{number}" for number in range(4)]
BATCH = 2


class Death(BaseException):
    """The process ends here: no handler may do anything any more."""


class Life:
    """Ends at its step ``last``; from then on nothing that touches the world happens."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.taken = 0
        self.died_at = ""

    def step(self, name: str) -> None:
        self.taken += 1
        if self.died_at or self.taken == self.last:
            self.died_at = self.died_at or name
            raise Death(name)


class Mortal:
    """Steps before and after each call of some verbs of anything, in either colour."""

    def __init__(self, inner: Any, life: Life, *verbs: str) -> None:
        self.inner = inner
        self.life = life
        self.verbs = verbs

    def __getattr__(self, verb: str) -> Any:
        original = getattr(self.inner, verb)
        if verb not in self.verbs:
            return original

        def call(*values: Any, **options: Any) -> Any:
            self.life.step(f"before {verb}")
            done = original(*values, **options)
            self.life.step(f"after {verb}")
            return self.wrapped(verb, done)

        async def await_it(*values: Any, **options: Any) -> Any:
            self.life.step(f"before {verb}")
            done = await original(*values, **options)
            self.life.step(f"after {verb}")
            return self.wrapped(verb, done)

        return await_it if asyncio.iscoroutinefunction(original) else call

    def wrapped(self, verb: str, done: Any) -> Any:
        return Mortal(done, self.life, "result") if verb == "send" else done


async def die(relay: Any) -> None:
    """What the system does for a process that ended: its lock and its connections are let go."""
    reader = relay._reader.inner
    if hasattr(reader, "_lock"):
        if reader._lock is not None:
            reader._lock.release()
    elif reader._connection is not None:
        await called(reader._connection.close)


async def life_and_death(yard: Yard, order: str, last: int) -> tuple[Life, list[tuple[str, str]]]:
    """One relay that dies at its step ``last``, and one that lives; what was published in the end."""
    life = Life(last)
    async with yard.bus() as bus:
        producer = await called(bus.producer)
        await yard.add_and_commit(*VALUES, key="lane")
        relay = yard.relay(Mortal(producer, life, "send"), order=order, max_records=BATCH)
        relay._reader = Mortal(relay._reader, life, "acquire", "read", "remove")
        try:
            while await called(relay.run_once):
                pass
        except Death:
            await die(relay)
        else:
            await called(relay.close)
        survivor = yard.relay(producer, order=order)
        await yard.run_until_empty(survivor)
        return life, await yard.published()


@pytest.mark.parametrize(
    ("kind", "colour", "order"),
    [
        ("sqlite", "sync", "key"),
        ("sqlite", "async", "total"),
        pytest.param("postgresql", "sync", "total", marks=pytest.mark.postgresql),
        pytest.param("postgresql", "async", "key", marks=pytest.mark.postgresql),
    ],
)
def test_whatever_step_it_dies_at(
    make_yard: Callable[[str], Yard], kind: str, colour: str, order: str
) -> None:
    died_at, doubled = [], set()
    for last in range(1, 1000):
        yard = make_yard(f"{kind}-{colour}")
        life, published = asyncio.run(life_and_death(yard, order, last))
        ids: dict[str, str] = {}
        for value, id in published:
            assert ids.setdefault(id, value) == value
        assert list(ids.values()) == VALUES, f"dead {life.died_at}"
        assert len(published) <= len(VALUES) + BATCH
        if not life.died_at:
            assert len(published) == len(VALUES)
            break
        died_at.append(life.died_at)
        if len(published) > len(VALUES):
            doubled.add(life.died_at)
    verbs = ("acquire", "read", "send", "result", "remove")
    assert set(died_at) == {f"{side} {verb}" for side in ("before", "after") for verb in verbs}
    # Only what was sent and not removed yet is published a second time.
    assert {"after send", "after result", "before remove"} <= doubled
    assert "after remove" in set(died_at) - doubled or "before acquire" in set(died_at) - doubled


PROGRAM = """
    import asyncio, sys
    import streamproof
    from tests.real.stores.outboxes import YARDS, called
    kind, colour, place, table, url = sys.argv[1:]
    yard = YARDS[kind].__new__(YARDS[kind])
    yard.place, yard.is_async, yard.table = place, colour == "async", table
    yard.outbox = yard.make()
    async def main():
        bus = await streamproof.aconnect(url) if yard.is_async else streamproof.connect(url)
        relay = yard.relay(await called(bus.producer), max_records=5, poll_interval_s=0.01)
        print("up", flush=True)
        await called(relay.run)
    asyncio.run(main())
"""


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("broker", "colour"),
    [
        ("kafka", "sync"),
        ("rabbitmq", "async"),
        pytest.param("kafka", "async", marks=pytest.mark.slow),
        pytest.param("rabbitmq", "sync", marks=pytest.mark.slow),
    ],
)
def test_killed_again_and_again_before_a_real_broker(
    request: pytest.FixtureRequest, make_yard: Callable[[str], Yard], colour: str, broker: str
) -> None:
    """kill -9 while rows are being published, a few times; then one that lives."""
    url = request.getfixturevalue(f"{broker}_url")
    yard = make_yard(f"postgresql-{colour}")
    separator = "&" if "?" in url else "?"
    url = f"{url}{separator}namespace=relay-{uuid4().hex[:8]}."
    values = [f"v{number}" for number in range(100)]
    root = Path(__file__).resolve().parents[3]

    def start() -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(PROGRAM),
            "postgresql",
            colour,
            yard.place,
            yard.table,
            url,
        ]
        relay = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        assert relay.stdout is not None
        assert relay.stdout.readline() == "up\n"
        return relay

    async def story() -> None:
        async with await streamproof.aconnect(url) as bus:
            await (await bus.admin()).create_topic(TOPIC)
            consumer = await bus.consumer(TOPIC, value="text")
            for value in values:
                await yard.add_and_commit(value, key="lane")
            for left in (80, 40, 0):
                relay = start()
                try:
                    await until(lambda left=left: asyncio.to_thread(lambda: len(yard.rows()) <= left))
                finally:
                    relay.send_signal(signal.SIGKILL)
                    relay.communicate()
            found: dict[str, str] = {}
            while len(found) < len(values):
                records = await consumer.poll(500, 10.0)
                assert records, f"{len(found)} of {len(values)} arrived"
                for record in records:
                    found.setdefault((record.header(RECORD_ID) or b"").decode(), record.value)
            assert list(found.values()) == values

    asyncio.run(story())
