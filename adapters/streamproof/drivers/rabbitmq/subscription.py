"""Which topics a consumer reads, and how a group's log names them; for both colours, pure.

A group's log must tell a topic from one of the same name that was created after it was deleted,
so it names topics ``name/id``; the application sees names only.
"""

import re
from collections.abc import Iterable

from streamproof.drivers.rabbitmq.catalogue import Catalogue, TopicCreated
from streamproof.drivers.rabbitmq.errors import unknown_topic
from streamproof.errors import ConfigurationError, Unsupported
from streamproof.options import ConsumerOptions
from streamproof.records import TopicPartition


class Subscription:
    """The topics that a consumer's options mean, as the catalogue stands."""

    def __init__(self, options: ConsumerOptions, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._names = tuple(dict.fromkeys(options.topics))
        try:
            self._pattern = None if options.pattern is None else re.compile(options.pattern)
        except re.error as cause:
            raise ConfigurationError(
                f"pattern={options.pattern!r} is no regular expression: {cause}"
            ) from cause

    def topics(self) -> list[TopicCreated]:
        """Those that are there, by name."""
        if self._pattern is not None:
            return [topic for topic in self._catalogue.topics() if self._pattern.fullmatch(topic.name)]
        found = (self._catalogue.topic(name) for name in self._names)
        return [topic for topic in found if topic is not None]

    def missing(self) -> str | None:
        """A topic that was named and is not there."""
        return next((name for name in self._names if self._catalogue.topic(name) is None), None)

    def require_all(self) -> None:
        """Raises :class:`UnknownTopic` for a topic that was named and is not there."""
        name = self.missing()
        if name is not None:
            raise unknown_topic(name)

    def require_logs(self) -> None:
        """Raises :class:`Unsupported` for a topic that cannot be read without a group."""
        for topic in self.topics():
            if not topic.has_log:
                raise Unsupported(
                    f"topic {topic.name!r} keeps no log and cannot be read without a group: name a group, or "
                    "create the topic with the log switched on"
                )


def inner_name(topic: TopicCreated) -> str:
    """How a group's log names a topic."""
    return f"{topic.name}/{topic.id}"


def inner_counts(topics: Iterable[TopicCreated]) -> dict[str, int]:
    """Topics as a group's log names them, with their partition counts."""
    return {inner_name(topic): topic.partitions for topic in topics}


def split_inner(log: TopicPartition) -> tuple[TopicPartition, str]:
    """The log as the application names it, and its topic's id."""
    name, _, topic_id = log.topic.rpartition("/")
    return TopicPartition(name, log.partition), topic_id
