"""Topics, groups and offsets over confluent-kafka's admin client."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from streamproof.drivers.kafka.errors import MOVING
from streamproof.drivers.kafka.group import state_word
from streamproof.drivers.kafka.options import limit, own_topics, topic_settings
from streamproof.drivers.kafka_confluent.client import (
    AdminClient,
    ConfigResource,
    IsolationLevel,
    KafkaError,
    KafkaException,
    NativePartition,
    NewTopic,
    OffsetSpec,
    Trouble,
    native_error,
    translated,
)
from streamproof.errors import BackendError, TimedOut, TopicExists, UnknownTopic
from streamproof.records import (
    AtTime,
    GroupDescription,
    MemberDescription,
    Position,
    TopicDescription,
    TopicPartition,
    TopicSpec,
)

_T = TypeVar("_T")

_LOOK_S = 0.02
"""Between two looks at whether a change can be seen."""

_ENDS: dict[str, Any] = {
    "beginning": OffsetSpec.earliest(),  # type: ignore[no-untyped-call]
    "end": OffsetSpec.latest(),  # type: ignore[no-untyped-call]
}

_ISOLATION = {
    "read_committed": IsolationLevel.READ_COMMITTED,
    "read_uncommitted": IsolationLevel.READ_UNCOMMITTED,
}


class Deadline:
    """What is left of a bound."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left; a little when there are none, since the library takes 0 for "no limit"."""
        return max(0.01, self._at_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at_s


class ConfluentAdmin:
    """See :class:`~streamproof.driver.AsyncAdminDriver`. From any thread."""

    def __init__(self, native: AdminClient, trouble: Trouble) -> None:
        self.native = native
        self._trouble = trouble

    def close(self) -> None:
        """Let go of the library's client; the driver ends it."""
        del self.native

    # -- topics ----------------------------------------------------------------------------

    def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        """See the Protocol. One request a topic: in one request the others would be made, too, when
        one is there already."""
        deadline = Deadline(timeout_s)
        for topic in topics:
            settings = topic_settings(topic.retention_ms, topic.retention_bytes, topic.is_compacted)
            replication = -1 if topic.replication is None else topic.replication
            new = NewTopic(topic.name, topic.partitions, replication, config=settings)
            futures = self.native.create_topics([new], request_timeout=deadline.left_s)
            try:
                self._result(futures[topic.name], f"topic {topic.name} cannot be created", deadline, False)
            except TopicExists as error:
                raise TopicExists(f"topic {topic.name} is there already") from error.__cause__
        wanted = {topic.name: topic.partitions for topic in topics}
        self._await_metadata(
            lambda: all(self._is_ready(name, count, deadline) for name, count in wanted.items()),
            f"{', '.join(wanted)} cannot be seen everywhere yet",
            deadline,
        )

    def _is_ready(self, name: str, partitions: int, deadline: Deadline) -> bool:
        """Whether the topic has all its partitions, and each a leader."""
        found = self._metadata(name, deadline).topics[name]
        leaders = [partition.leader for partition in found.partitions.values() if partition.error is None]
        if found.error is not None or len(leaders) < partitions or -1 in leaders:
            return False
        # The leaders are named; each says itself when it is ready.
        logs = [TopicPartition(name, index) for index in range(partitions)]
        try:
            self._offsets(logs, _ENDS["beginning"], "read_uncommitted", deadline)
        except UnknownTopic:
            return False
        return True

    def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        futures = self.native.delete_topics(list(names), request_timeout=deadline.left_s)
        for name, future in futures.items():
            self._result(future, f"topic {name} cannot be deleted", deadline, False)
        self._await_metadata(
            lambda: not set(names).intersection(self._metadata(None, deadline).topics),
            f"{', '.join(names)} can still be seen",
            deadline,
        )

    def list_topics(self, timeout_s: float) -> list[str]:
        """See the Protocol."""
        return own_topics(self._metadata(None, Deadline(timeout_s)).topics)

    def partition_counts(self, timeout_s: float) -> dict[str, int]:
        """The number of partitions of every topic that is not internal."""
        topics = self._metadata(None, Deadline(timeout_s)).topics
        return {name: len(topics[name].partitions) for name in own_topics(topics)}

    def partitions_of(self, names: Iterable[str], timeout_s: float) -> dict[str, int]:
        """The number of partitions of each topic; :class:`UnknownTopic` if one is not there."""
        deadline = Deadline(timeout_s)
        return {name: self._partitions(name, deadline) for name in names}

    def _partitions(self, name: str, deadline: Deadline) -> int:
        found = self._metadata(name, deadline).topics[name]
        if found.error is not None:
            error = KafkaException(found.error)
            raise translated(error, f"topic {name} cannot be read") from error
        return len(found.partitions)

    def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        counts = {name: self._partitions(name, deadline) for name in names}
        if not counts:
            return []
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in counts]
        futures = self.native.describe_configs(resources, request_timeout=deadline.left_s)
        settings = {
            resource.name: self._result(future, f"topic {resource.name} cannot be described", deadline)
            for resource, future in futures.items()
        }
        return [_described(name, counts[name], settings[name]) for name in names]

    def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """See the Protocol."""
        if not before:
            return
        deadline = Deadline(timeout_s)
        natives = [NativePartition(*partition, offset) for partition, offset in before.items()]
        futures = self.native.delete_records(natives, request_timeout=deadline.left_s)
        for partition, future in futures.items():
            what = f"{partition.topic}[{partition.partition}] cannot be trimmed"
            self._result(future, what, deadline, False)

    # -- groups ----------------------------------------------------------------------------

    def list_groups(self, timeout_s: float) -> list[str]:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        future = self.native.list_consumer_groups(request_timeout=deadline.left_s)
        found = self._result(future, "the groups cannot be listed", deadline)
        for error in found.errors or ():
            raise translated(error, "the groups cannot be listed", self._trouble) from error
        return sorted(group.group_id for group in found.valid)

    def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        """See the Protocol. Kafka does not tell a group's generation here."""
        if not names:
            return []
        deadline = Deadline(timeout_s)
        futures = self.native.describe_consumer_groups(list(names), request_timeout=deadline.left_s)
        return [self._group(name, futures[name], deadline) for name in names]

    def _group(self, name: str, future: "Future[Any]", deadline: Deadline) -> GroupDescription:
        try:
            found = self._native_result(future, deadline, f"group {name} cannot be described")
        except KafkaException as cause:
            if native_error(cause).code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupDescription(name, "dead", None, ())
            raise translated(cause, f"group {name} cannot be described", self._trouble) from cause
        members = tuple(
            MemberDescription(member.member_id, _held(member.assignment)) for member in found.members
        )
        return GroupDescription(name, state_word(found.state.name), None, members)

    # -- offsets ---------------------------------------------------------------------------

    def offsets_at(
        self, partitions: Iterable[TopicPartition], place: Position, isolation: str, timeout_s: float
    ) -> dict[TopicPartition, int]:
        """The offset of a place in each log. The end of a log under ``read_committed`` is its last
        stable offset; a time beyond the last record is the end."""
        chosen = list(partitions)
        if isinstance(place, int):
            return dict.fromkeys(chosen, place)
        deadline = Deadline(timeout_s)
        if not isinstance(place, AtTime):
            return self._offsets(chosen, _ENDS[place], isolation, deadline)
        found = self._offsets(chosen, OffsetSpec.for_timestamp(place.timestamp_ms), isolation, deadline)
        beyond = [partition for partition, offset in found.items() if offset < 0]
        return {**found, **self._offsets(beyond, _ENDS["end"], isolation, deadline)}

    def _offsets(
        self, partitions: list[TopicPartition], spec: Any, isolation: str, deadline: Deadline
    ) -> dict[TopicPartition, int]:
        """Asked again while leaders move, within the bound: that is the answer of a moment."""
        while True:
            try:
                return self._offsets_now(partitions, spec, isolation, deadline)
            except BackendError as error:
                cause = error.__cause__
                is_moving = isinstance(cause, KafkaException) and native_error(cause).code() in MOVING
                if not is_moving or deadline.is_over:
                    raise
            time.sleep(_LOOK_S)

    def _offsets_now(
        self, partitions: list[TopicPartition], spec: Any, isolation: str, deadline: Deadline
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        futures = self.native.list_offsets(
            {NativePartition(*partition): spec for partition in partitions},
            isolation_level=_ISOLATION[isolation],
            request_timeout=deadline.left_s,
        )
        return {
            TopicPartition(native.topic, native.partition): self._result(
                future, f"the offsets of {native.topic}[{native.partition}] cannot be found", deadline
            ).offset
            for native, future in futures.items()
        }

    # -- inside ----------------------------------------------------------------------------

    def _metadata(self, name: str | None, deadline: Deadline) -> Any:
        try:
            return self.native.list_topics(name, timeout=deadline.left_s)
        except KafkaException as cause:
            raise translated(cause, "no metadata from the brokers", self._trouble) from cause

    def _result(self, future: "Future[_T]", what: str, deadline: Deadline, is_reading: bool = True) -> _T:
        try:
            return self._native_result(future, deadline, what, is_reading)
        except KafkaException as cause:
            raise translated(cause, what, self._trouble, definite=is_reading) from cause

    def _native_result(
        self, future: "Future[_T]", deadline: Deadline, what: str, is_reading: bool = True
    ) -> _T:
        try:
            return future.result(deadline.left_s)
        except FutureTimeout as cause:
            raise TimedOut(
                f"{what}: no answer within {deadline.timeout_s} s; try again with more time",
                definite=is_reading,
            ) from cause

    def _await_metadata(self, is_seen: Callable[[], bool], what: str, deadline: Deadline) -> None:
        """The controller has answered; the brokers learn of it a moment later."""
        while not is_seen():
            if deadline.is_over:
                raise TimedOut(f"{what} after {deadline.timeout_s} s; look again later", definite=False)
            time.sleep(_LOOK_S)


def _described(name: str, partitions: int, settings: Mapping[str, Any]) -> TopicDescription:
    return TopicDescription(
        name,
        partitions,
        retention_ms=limit(settings["retention.ms"].value),
        retention_bytes=limit(settings["retention.bytes"].value),
        is_compacted="compact" in settings["cleanup.policy"].value,
    )


def _held(assignment: Any) -> tuple[TopicPartition, ...]:
    partitions = assignment.topic_partitions if assignment is not None else ()
    return tuple(sorted(TopicPartition(native.topic, native.partition) for native in partitions))
