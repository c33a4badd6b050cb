"""The async admin verbs, on the connection that follows the definitions."""

import secrets
import time
from collections.abc import Mapping, Sequence

from streamproof.core.membership import GroupState
from streamproof.drivers.rabbitmq.commands import Procedure, T
from streamproof.drivers.rabbitmq.descriptions import (
    dead_group,
    describe_group,
    describe_topic,
    name_some,
    require_possible,
)
from streamproof.drivers.rabbitmq.errors import unknown_topic
from streamproof.drivers.rabbitmq.procedures import create_topics, delete_topics, read_group
from streamproof.drivers.rabbitmq.refusals import no_trimming
from streamproof.drivers.rabbitmq_aio_pika.commands import run
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.records import GroupDescription, TopicDescription, TopicPartition, TopicSpec


class AioPikaAdmin:
    """See :class:`~streamproof.driver.AsyncAdminDriver`."""

    def __init__(self, definitions: AioDefinitions, has_log: bool) -> None:
        self._definitions = definitions
        self._has_log = has_log

    async def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        for spec in topics:
            require_possible(spec, self._has_log)
        procedure = create_topics(
            self._definitions.catalogue, topics, lambda: secrets.token_hex(4), self._has_log
        )
        doing = f"creating {name_some([spec.name for spec in topics])}"
        await self._run(procedure, time.monotonic() + timeout_s, doing)

    async def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        procedure = delete_topics(self._definitions.catalogue, names)
        await self._run(procedure, time.monotonic() + timeout_s, f"deleting {name_some(names)}")

    async def list_topics(self, timeout_s: float) -> list[str]:
        await self._definitions.wait_synced(timeout_s)
        return [topic.name for topic in self._definitions.catalogue.topics()]

    async def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        await self._definitions.wait_synced(timeout_s)
        found = []
        for name in names:
            topic = self._definitions.catalogue.topic(name)
            if topic is None:
                raise unknown_topic(name)
            found.append(describe_topic(topic))
        return found

    async def list_groups(self, timeout_s: float) -> list[str]:
        await self._definitions.wait_synced(timeout_s)
        return self._definitions.catalogue.groups()

    async def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        deadline_s = time.monotonic() + timeout_s
        await self._definitions.wait_synced(timeout_s)
        known = set(self._definitions.catalogue.groups())
        found: list[GroupDescription] = []
        for name in names:
            if name in known:
                state = await self._run(read_group(name), deadline_s, f"describing group {name!r}")
                found.append(describe_group(name, state or GroupState()))
            else:
                found.append(dead_group(name))
        return found

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_trimming()

    async def _run(self, procedure: Procedure[T], deadline_s: float, doing: str) -> T:
        left = max(0.0, deadline_s - time.monotonic())
        return await run(self._definitions.link, procedure, self._definitions.sync, left, doing)
