"""The definitions: topics, their partitions, the groups set up on them.

They are the fold of one stream, ``streamproof.meta``. Whoever defines something appends a record
and looks at the fold: of two definitions of one name the first in the stream stands, so nobody
needs a lock, and all connections agree. Pure: no I/O, no clock.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from streamproof.records import TopicPartition


class Backlog(msgspec.Struct, frozen=True):
    """What a group reads of a log before its own queue: stream offsets from ``begin`` up to ``cut``.

    Records that the producers' channels in ``skip`` numbered up to the given number are in that
    range although they may be in the group's queue too: they are passed over there.
    """

    begin: int
    cut: int
    skip: dict[str, int]


class TopicCreated(msgspec.Struct, frozen=True, tag="topic-created"):
    """A topic is there, with all its queues."""

    name: str
    id: str
    partitions: int
    has_log: bool
    retention_ms: int | None = None
    retention_bytes: int | None = None
    replication: int | None = None


class TopicDeleted(msgspec.Struct, frozen=True, tag="topic-deleted"):
    """A topic is gone; its queues go after this record."""

    id: str


class GroupOpening(msgspec.Struct, frozen=True, tag="group-opening"):
    """A group's queues on a topic are about to be declared."""

    group: str
    topic_id: str


class GroupOpened(msgspec.Struct, frozen=True, tag="group-opened"):
    """A group can read a topic: its queues are bound, one a partition."""

    group: str
    topic_id: str
    backlog: dict[int, Backlog] = {}


class Marker(msgspec.Struct, frozen=True, tag="marker"):
    """Defines nothing: whoever reads it has read what was appended before."""

    id: str


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Everything that stands after the record at offset ``upto``."""

    upto: int
    topics: list[TopicCreated]
    groups: list[GroupOpening | GroupOpened]


EMPTY = Snapshot(-1, [], [])
"""Nothing is defined."""

Definition = TopicCreated | TopicDeleted | GroupOpening | GroupOpened | Marker | Snapshot

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Definition).decode


def decode(raw: bytes) -> Definition:
    """The definition in a record; one of a kind that this version does not know defines nothing."""
    try:
        found: Definition = _decode(raw)
    except msgspec.DecodeError:
        return Marker("")
    return found


class Catalogue:
    """The fold. One thread applies; others may look: what is handed out is immutable.

    ``version`` rises with every change; ``watch`` calls back after one, on the applying thread.
    """

    def __init__(self) -> None:
        self.offset = -1
        self.version = 0
        self._topics: dict[str, TopicCreated] = {}
        self._names: dict[str, str] = {}
        self._groups: dict[tuple[str, str], GroupOpening | GroupOpened] = {}
        self._watchers: list[Callable[[], object]] = []

    def topic(self, name: str) -> TopicCreated | None:
        """The topic of that name."""
        return self._topics.get(name)

    def topics(self) -> list[TopicCreated]:
        """All topics, by name."""
        return [topic for _, topic in sorted(self._topics.items())]

    def name_of(self, topic_id: str) -> str | None:
        """The name of a topic that stands."""
        return self._names.get(topic_id)

    def opened(self, group: str, topic_id: str) -> GroupOpened | None:
        """How that group reads that topic, once it can."""
        found = self._groups.get((group, topic_id))
        return found if isinstance(found, GroupOpened) else None

    def groups(self) -> list[str]:
        """The groups that can read a topic, by name."""
        return sorted({group for (group, _), found in self._copy() if isinstance(found, GroupOpened)})

    def groups_on(self, topic_id: str) -> list[str]:
        """The groups that have queues on a topic, also those whose set-up did not end."""
        return sorted(group for (group, on), _ in self._copy() if on == topic_id)

    def logs_of(self, name: str) -> list[TopicPartition]:
        """The logs of a topic, none if there is no such topic."""
        topic = self._topics.get(name)
        return [TopicPartition(name, number) for number in range(topic.partitions)] if topic else []

    def watch(self, watcher: Callable[[], object]) -> Callable[[], None]:
        """Call ``watcher`` after every change; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def apply(self, offset: int, definition: Definition) -> None:
        """Take in the next record of the stream."""
        self.offset = offset
        match definition:
            case TopicCreated(name=name, id=topic_id):
                if name in self._topics:
                    return
                self._topics[name] = definition
                self._names[topic_id] = name
            case TopicDeleted(id=topic_id):
                self._delete(topic_id)
            case GroupOpening(group=group, topic_id=topic_id):
                if topic_id not in self._names:
                    return
                self._groups.setdefault((group, topic_id), definition)
            case GroupOpened(group=group, topic_id=topic_id):
                if topic_id not in self._names or self.opened(group, topic_id):
                    return
                self._groups[group, topic_id] = definition
            case _:
                return
        self._changed()

    def restore(self, snapshot: Snapshot) -> None:
        """Begin with what a snapshot says."""
        self.offset = snapshot.upto
        self._topics = {topic.name: topic for topic in snapshot.topics}
        self._names = {topic.id: topic.name for topic in snapshot.topics}
        self._groups = {(group.group, group.topic_id): group for group in snapshot.groups}
        self._changed()

    def snapshot(self) -> Snapshot:
        """What stands now."""
        return Snapshot(self.offset, list(self._topics.values()), list(self._groups.values()))

    def _delete(self, topic_id: str) -> None:
        name = self._names.pop(topic_id, None)
        if name is not None:
            del self._topics[name]
            self._groups = {key: value for key, value in self._groups.items() if key[1] != topic_id}

    def _copy(self) -> Iterable[tuple[tuple[str, str], Any]]:
        return list(self._groups.items())

    def _changed(self) -> None:
        self.version += 1
        for watcher in list(self._watchers):
            watcher()
