"""What every case stands on: a bus, fresh names, and reading that waits for a condition."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar

from streamproof import (
    AsyncAdmin,
    AsyncBus,
    AsyncConsumer,
    AsyncProducer,
    Capabilities,
    Receipt,
    Record,
    StreamproofError,
    TopicPartition,
    aconnect,
)
from streamproof_harness.conformance._async.colour import LoopOwner, runnable

Taken = list[tuple[int, Record[Any, Any]]]
"""Records with the index of the member that got each, in the order they came."""


def case(body: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
    """A method that is one case: the bus is there before it, and what it opened is closed after it."""

    @wraps(body)
    async def around(suite: Any) -> None:
        await suite.begin_case(body.__name__)
        try:
            await body(suite)
        finally:
            await suite.end_case()

    return runnable(around)


class AsyncStage(LoopOwner):
    """Set ``url``, or override ``connect``; the other attributes have defaults that fit most backends."""

    url: str = ""
    """The backend. All cases share one bus to it, and use topics and groups of their own."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Further arguments of ``connect``."""
    group_options: ClassVar[Mapping[str, Any]] = {"session_timeout_s": 6.0}
    """Options of every consumer in a group: a short session keeps the suite short."""
    patience_s: float = 30.0
    """How long a case waits for what must come, before it fails."""
    oversized_bytes: int = 2_000_000
    """The size of a value that the backend refuses; 0 if it takes any."""
    unreachable_url: str | None = None
    """An address of this scheme where nobody answers, where there is such a thing."""

    bus: AsyncBus
    _run: ClassVar[str] = ""
    _topics: ClassVar[list[str]] = []

    # -- around the cases ------------------------------------------------------------------

    async def connect(self, url: str | None = None, **settings: Any) -> AsyncBus:
        """A new bus to the backend, or to another address of it."""
        return await aconnect(self.url if url is None else url, **{**self.settings, **settings})

    async def begin_case(self, name: str) -> None:
        """Have the bus open, and remember nothing of the case before."""
        suite = type(self)
        if "bus" not in suite.__dict__:
            suite._run, suite._topics = secrets.token_hex(4), []
            suite.bus = await self.connect()
        self._case = name
        self._names = 0
        self._opened: list[AsyncBus | AsyncConsumer[Any, Any] | AsyncProducer[Any, Any]] = []

    async def end_case(self) -> None:
        """Close what the case opened, the newest first."""
        while self._opened:
            await self._opened.pop().close(timeout_s=self.patience_s)

    @classmethod
    def teardown_class(cls) -> None:
        """Delete the topics and close the bus; pytest calls it, others call it at the end."""
        if "bus" in cls.__dict__:
            cls.run_to_end(cls._end)

    @classmethod
    async def _end(cls) -> None:
        bus, topics = cls.bus, cls._topics
        del cls.bus
        try:
            await cls._delete(await bus.admin(), topics)
        finally:
            await bus.close()

    @classmethod
    async def _delete(cls, admin: AsyncAdmin, topics: Sequence[str]) -> None:
        """Delete them all at once, or, should that fail, those that can be."""
        try:
            await admin.delete_topics(*topics)
        except StreamproofError:
            for topic in topics if len(topics) > 1 else ():
                await cls._delete(admin, [topic])

    # -- making things -------------------------------------------------------------------------

    @property
    def can(self) -> Capabilities:
        """What the backend says it can do."""
        return self.bus.capabilities

    def name(self, of: str = "group") -> str:
        """A name nobody has used."""
        self._names += 1
        return f"{of}-{self._run}-{self._case.removeprefix('test_')}-{self._names}"

    async def topic(self, partitions: int = 1, **settings: Any) -> str:
        """A new topic."""
        name = self.name("topic")
        self._topics.append(name)
        await (await self.bus.admin()).create_topic(name, partitions, **settings)
        return name

    async def producer(self, **options: Any) -> AsyncProducer[Any, Any]:
        """A producer that is closed after the case."""
        producer = await self.bus.producer(**options)
        self._opened.append(producer)
        return producer

    async def member(self, *topics: str, group: str, **options: Any) -> AsyncConsumer[Any, Any]:
        """A consumer in a group that is closed after the case."""
        consumer = await self.bus.consumer(*topics, group=group, **{**self.group_options, **options})
        self._opened.append(consumer)
        return consumer

    async def reader(self, *topics: str, **options: Any) -> AsyncConsumer[Any, Any]:
        """A consumer of everything in these topics: without a group, or, where no log is kept, the
        only member of a new one. Make it before sending."""
        if not self.can.can_replay:
            return await self.member(*topics, group=self.name(), **options)
        consumer = await self.bus.consumer(*topics, **options)
        self._opened.append(consumer)
        return consumer

    async def another_bus(self, **settings: Any) -> AsyncBus:
        """A bus of the case's own that is closed after it."""
        bus = await self.connect(**settings)
        self._opened.append(bus)
        return bus

    # -- doing things --------------------------------------------------------------------------

    async def send(self, topic: str, *values: bytes | None, **options: Any) -> list[Receipt]:
        """Send these values one after another, and wait until they are acknowledged."""
        producer = await self.bus.producer()
        try:
            deliveries = [await producer.send(topic, value, **options) for value in values]
            return [await delivery.result(self.patience_s) for delivery in deliveries]
        finally:
            await producer.close()

    async def read(self, consumer: AsyncConsumer[Any, Any], count: int) -> list[Record[Any, Any]]:
        """At least ``count`` records, as they come; nothing is acknowledged."""
        taken = await self.take_turns([consumer], lambda taken: len(taken) >= count, acknowledges=False)
        return [record for _, record in taken]

    async def read_to(self, consumer: AsyncConsumer[Any, Any], *last: bytes) -> list[bytes]:
        """Values as they come, up to and with the one that completes ``last``: what stands before
        the last was all there was."""
        taken = await self.take_turns(
            [consumer], lambda taken: set(last) <= set(values_of(taken)), acknowledges=False
        )
        return values_of(taken)

    async def take_turns(
        self,
        members: Sequence[AsyncConsumer[Any, Any]],
        is_done: Callable[[Taken], bool],
        acknowledges: bool = True,
    ) -> Taken:
        """Poll each in turn, acknowledging what comes, until ``is_done`` of all that came."""
        taken: Taken = []
        deadline = time.monotonic() + self.patience_s
        wait_s = 0.5 if len(members) == 1 else 0.05
        while not is_done(taken):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"what was waited for did not come within {self.patience_s} s; "
                    f"{len(taken)} records came: {values_of(taken)[:20]}; "
                    f"held: {[member.assignment() for member in members]}"
                )
            for index, member in enumerate(members):
                records = await member.poll(timeout_s=wait_s)
                taken.extend((index, record) for record in records)
                if acknowledges and records:
                    await member.ack(records)
        return taken

    async def share(self, members: Sequence[AsyncConsumer[Any, Any]], topic: str, partitions: int) -> Taken:
        """Take turns until the members hold all logs of the topic, each at least one, none twice."""

        def is_shared(_: Taken) -> bool:
            held = [member.assignment() for member in members]
            every = sorted(log for logs in held for log in logs)
            return all(held) and every == logs_of(topic, partitions)

        return await self.take_turns(members, is_shared)


def logs_of(topic: str, partitions: int) -> list[TopicPartition]:
    """All logs of a topic."""
    return [TopicPartition(topic, partition) for partition in range(partitions)]


def offset_of(record: Record[Any, Any]) -> int:
    """The offset of a record that must have one."""
    assert record.offset is not None
    return record.offset


def values_of(taken: Taken) -> list[Any]:
    """The values, in the order they came."""
    return [record.value for _, record in taken]


def numbered(count: int, start: int = 0) -> list[bytes]:
    """So many different values."""
    return [b"%d" % number for number in range(start, start + count)]
