"""The topics of a cluster. A plain catalogue: no I/O, no clock, no lock; ids are passed in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from streamproof.core.batch import BATCH_OVERHEAD, Decode
from streamproof.core.log import PartitionLog
from streamproof.core.producer_ledger import PRODUCER_EXPIRATION_MS
from streamproof.errors import ConfigurationError, TopicExists, UnknownTopic
from streamproof.records import TopicDescription, TopicPartition

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")

MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default for the largest record batch: 1 MiB and the old format's twelve bytes."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What a topic was created with; ``None`` sets no limit."""

    partitions: int = 1
    retention_ms: int | None = None
    retention_bytes: int | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise ConfigurationError(f"partitions={self.partitions} is not possible: give 1 or more")
        for name in ("retention_ms", "retention_bytes"):
            limit = getattr(self, name)
            if limit is not None and limit < 0:
                raise ConfigurationError(
                    f"{name}={limit} is not possible: give 0 or more, or None to keep all"
                )


class Topic:
    """A topic and its logs. A topic that was deleted and created again is another one: its ``id``
    differs. ``keeps_all`` says that no retention applies; ``largest_record`` is the largest
    :func:`~streamproof.core.batch.record_size` that it takes."""

    __slots__ = ("id", "keeps_all", "largest_record", "logs", "name", "settings")

    def __init__(
        self, name: str, identity: int, settings: TopicSettings, decode: Decode | None = None
    ) -> None:
        self.name = name
        self.id = identity
        self.settings = settings
        self.keeps_all = settings.retention_ms is None and settings.retention_bytes is None
        self.largest_record = settings.max_message_bytes - BATCH_OVERHEAD
        self.logs = [
            PartitionLog(
                TopicPartition(name, partition), settings.retention_ms, settings.retention_bytes, decode
            )
            for partition in range(settings.partitions)
        ]

    def log(self, partition: int) -> PartitionLog:
        """The log of one partition; :class:`UnknownTopic` if there is none."""
        if not 0 <= partition < len(self.logs):
            raise self.unknown_partition(partition)
        return self.logs[partition]

    def unknown_partition(self, partition: int) -> UnknownTopic:
        """The error for a partition that is not there."""
        return UnknownTopic(
            f"topic {self.name!r} has no partition {partition}: it has 0 to {len(self.logs) - 1}"
        )

    def describe(self) -> TopicDescription:
        """The topic as the admin verbs tell it."""
        return TopicDescription(
            self.name, len(self.logs), self.settings.retention_ms, self.settings.retention_bytes
        )


class Topics:
    """The topics by name. ``version`` rises with every change, so that readers notice cheaply."""

    __slots__ = ("_decode", "_topics", "version")

    def __init__(self, decode: Decode | None = None) -> None:
        self.version = 0
        self._topics: dict[str, Topic] = {}
        self._decode = decode

    def create(self, name: str, identity: int, settings: TopicSettings) -> Topic:
        """A new topic; :class:`TopicExists`, or :class:`ConfigurationError` for an illegal name."""
        if not _LEGAL_NAME.fullmatch(name) or name in (".", ".."):
            raise ConfigurationError(
                f"{name!r} cannot name a topic: use 1 to 249 letters, digits, '.', '_' and '-', "
                "and not '.' or '..'"
            )
        if name in self._topics:
            raise TopicExists(f"topic {name!r} is there already: choose another name, or delete it first")
        topic = self._topics[name] = Topic(name, identity, settings, self._decode)
        self.version += 1
        return topic

    def delete(self, name: str) -> Topic:
        """Take a topic out, with all its records; :class:`UnknownTopic`."""
        topic = self.topic(name)
        del self._topics[name]
        for log in topic.logs:
            log.delete()
        self.version += 1
        return topic

    def find(self, name: str) -> Topic | None:
        """The topic of that name, if there is one."""
        return self._topics.get(name)

    def topic(self, name: str) -> Topic:
        """The topic of that name; :class:`UnknownTopic` if there is none."""
        topic = self._topics.get(name)
        if topic is None:
            raise UnknownTopic(f"there is no topic {name!r}: create it first with bus.admin.create_topics(…)")
        return topic

    def log(self, name: TopicPartition) -> PartitionLog:
        """One partition's log; :class:`UnknownTopic` if there is none."""
        return self.topic(name[0]).log(name[1])

    def expire_producers(self, now_ms: int, expiration_ms: int = PRODUCER_EXPIRATION_MS) -> None:
        """Forget, in every log, the producers that wrote nothing for so long."""
        for topic in self._topics.values():
            for log in topic.logs:
                log.producers.expire(now_ms, expiration_ms)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._topics)

    def partition_counts(self) -> Mapping[str, int]:
        """How many partitions each topic has."""
        return {name: len(topic.logs) for name, topic in self._topics.items()}
