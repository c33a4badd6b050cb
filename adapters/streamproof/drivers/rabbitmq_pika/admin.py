"""The blocking admin verbs, on the connection that follows the definitions."""

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
from streamproof.drivers.rabbitmq_pika.commands import run
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.link import left_s
from streamproof.records import GroupDescription, TopicDescription, TopicPartition, TopicSpec


class PikaAdmin:
    """See :class:`~streamproof.driver.AdminDriver`."""

    def __init__(self, definitions: Definitions, has_log: bool) -> None:
        self._definitions = definitions
        self._has_log = has_log

    def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        for spec in topics:
            require_possible(spec, self._has_log)
        procedure = create_topics(
            self._definitions.catalogue, topics, lambda: secrets.token_hex(4), self._has_log
        )
        self._run(procedure, timeout_s, f"creating {name_some([spec.name for spec in topics])}")

    def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        procedure = delete_topics(self._definitions.catalogue, names)
        self._run(procedure, timeout_s, f"deleting {name_some(names)}")

    def list_topics(self, timeout_s: float) -> list[str]:
        self._definitions.wait_synced(timeout_s)
        return [topic.name for topic in self._definitions.catalogue.topics()]

    def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        self._definitions.wait_synced(timeout_s)
        found = []
        for name in names:
            topic = self._definitions.catalogue.topic(name)
            if topic is None:
                raise unknown_topic(name)
            found.append(describe_topic(topic))
        return found

    def list_groups(self, timeout_s: float) -> list[str]:
        self._definitions.wait_synced(timeout_s)
        return self._definitions.catalogue.groups()

    def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        deadline_s = time.monotonic() + timeout_s
        self._definitions.wait_synced(timeout_s)
        known = set(self._definitions.catalogue.groups())
        found: list[GroupDescription] = []
        for name in names:
            if name in known:
                state = self._run(read_group(name), left_s(deadline_s), f"describing group {name!r}")
                found.append(describe_group(name, state or GroupState()))
            else:
                found.append(dead_group(name))
        return found

    def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        raise no_trimming()

    def _run(self, procedure: Procedure[T], timeout_s: float, doing: str) -> T:
        return run(self._definitions.link, procedure, self._definitions.sync, timeout_s, doing)
