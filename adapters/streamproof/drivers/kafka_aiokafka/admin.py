"""Topics, groups and offsets over aiokafka's connections.

The requests are sent as such: :class:`aiokafka.admin.AIOKafkaAdminClient` hides their error codes,
makes topics by describing them, and asks for all topics before it trims one.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.offset import OffsetRequest

from streamproof.drivers.kafka.errors import MOVING
from streamproof.drivers.kafka.group import state_word
from streamproof.drivers.kafka.options import limit, own_topics, topic_settings
from streamproof.drivers.kafka_aiokafka.client import CarefulClient, Deadline, bounded, refusal
from streamproof.drivers.kafka_aiokafka.stable_offsets import StableOffsetFetch, code_in, offsets_in
from streamproof.errors import TimedOut, TopicExists, UnknownTopic, Unreachable
from streamproof.records import (
    AtTime,
    GroupDescription,
    MemberDescription,
    Position,
    TopicDescription,
    TopicPartition,
    TopicSpec,
)

_LOOK_S = 0.02
"""Between two looks at whether a change can be seen."""

_TOPIC_RESOURCE = 2
_NOT_CONTROLLER = 41
_GROUP_ID_NOT_FOUND = 69
_COORDINATOR_WAITS = frozenset({14, 15, 16, 88})
"""It loads, or moves, or stored offsets wait for the end of a transaction."""

_ENDS = {"beginning": -2, "end": -1}
_ISOLATION = {"read_uncommitted": 0, "read_committed": 1}


class _Moving(Exception):
    """A broker's answer of a moment; ask again."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class AiokafkaAdmin:
    """See :class:`~streamproof.driver.AsyncAdminDriver`; beside its verbs, the questions that
    producers and consumers ask, which would wait behind a fetch on connections of their own."""

    def __init__(self, client: CarefulClient) -> None:
        self._client = client

    # -- topics ----------------------------------------------------------------------------

    async def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        """See the Protocol. One request a topic: in one request the others would be made, too, when
        one is there already."""
        deadline = Deadline(timeout_s)
        for topic in topics:
            await self._create(topic, deadline)
        for topic in topics:
            await self._until(
                lambda topic=topic: self._is_ready(topic, deadline),  # type: ignore[misc]
                f"topic {topic.name} cannot be seen everywhere yet",
                deadline,
            )

    async def _create(self, topic: TopicSpec, deadline: Deadline) -> None:
        settings = topic_settings(topic.retention_ms, topic.retention_bytes, topic.is_compacted)
        replication = -1 if topic.replication is None else topic.replication
        new: Any = (topic.name, topic.partitions, replication, [], list(settings.items()))
        what = f"topic {topic.name} cannot be created"
        request = CreateTopicsRequest([new], int(deadline.left_s * 1000), False)
        response = await self._ask_controller(request, "topic_errors", what, deadline)
        for _, code, message in response.topic_errors:
            if code:
                error = refusal(code, what, message, definite=False)
                if isinstance(error, TopicExists):
                    raise TopicExists(f"topic {topic.name} is there already") from error.__cause__
                raise error

    async def _is_ready(self, topic: TopicSpec, deadline: Deadline) -> bool:
        """Whether each partition has a leader, and each leader says itself that it is ready."""
        logs = [TopicPartition(topic.name, index) for index in range(topic.partitions)]
        try:
            await self._offsets_now(logs, _ENDS["beginning"], "read_uncommitted", deadline)
        except (_Moving, UnknownTopic):
            return False
        return True

    async def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        if not names:
            return
        request = DeleteTopicsRequest(list(names), int(deadline.left_s * 1000))
        what = f"{', '.join(names)} cannot be deleted"
        response = await self._ask_controller(request, "topic_error_codes", what, deadline)
        for name, code in response.topic_error_codes:
            if code:
                raise refusal(code, f"topic {name} cannot be deleted", definite=False)

        async def is_gone() -> bool:
            return all(topic[0] == 3 for topic in await self._topics(list(names), deadline))

        await self._until(is_gone, f"{', '.join(names)} can still be seen", deadline)

    async def list_topics(self, timeout_s: float) -> list[str]:
        """See the Protocol."""
        return own_topics(await self.partition_counts(None, timeout_s))

    async def partition_counts(self, names: Iterable[str] | None, timeout_s: float) -> dict[str, int]:
        """The number of partitions of those of these topics that are there; of all for ``None``. It is
        0 for a moment while a topic is made."""
        chosen = None if names is None else list(names)
        topics = await self._topics(chosen, Deadline(timeout_s))
        return {name: len(partitions) for code, name, _, partitions in topics if not code or code in MOVING}

    async def partitions_of(self, names: Iterable[str], timeout_s: float) -> dict[str, int]:
        """The number of partitions of each topic; :class:`UnknownTopic` if one is not there."""
        counts: dict[str, int] = {}
        for code, name, _, partitions in await self._topics(list(names), Deadline(timeout_s)):
            if code and code not in MOVING:
                raise refusal(code, f"topic {name} cannot be read")
            counts[name] = len(partitions)
        return counts

    async def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        """See the Protocol."""
        if not names:
            return []
        deadline = Deadline(timeout_s)
        counts = await self.partitions_of(names, deadline.left_s)
        request = DescribeConfigsRequest([(_TOPIC_RESOURCE, name, None) for name in counts])
        response = await self._ask(None, request, "the topics cannot be described", deadline)
        settings: dict[str, dict[str, str | None]] = {}
        for code, message, _, name, entries in response.resources:
            if code:
                raise refusal(code, f"topic {name} cannot be described", message)
            settings[name] = {entry[0]: entry[1] for entry in entries}
        return [_described(name, counts[name], settings[name]) for name in names]

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        for leader, logs in (await self._by_leader(before, deadline)).items():
            topics = [(topic, [(index, before[TopicPartition(topic, index)]) for index in indexes])
                      for topic, indexes in _grouped(logs).items()]  # fmt: skip
            request = DeleteRecordsRequest(topics, int(deadline.left_s * 1000))
            what = "the logs cannot be trimmed"
            response = await self._ask(leader, request, what, deadline, is_reading=False)
            for topic, partitions, *_ in response.topics:
                for index, _, code, *_ in partitions:
                    if code:
                        raise refusal(code, f"{topic}[{index}] cannot be trimmed", definite=False)

    # -- groups ----------------------------------------------------------------------------

    async def list_groups(self, timeout_s: float) -> list[str]:
        """See the Protocol."""
        deadline = Deadline(timeout_s)
        groups: set[str] = set()
        for broker in self._client.cluster.brokers():
            what = "the groups cannot be listed"
            response = await self._ask(broker.nodeId, ListGroupsRequest(), what, deadline)
            if response.error_code:
                raise refusal(response.error_code, what)
            groups.update(group[0] for group in response.groups)
        return sorted(groups)

    async def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        """See the Protocol. Kafka does not tell a group's generation here."""
        deadline = Deadline(timeout_s)
        return [await self._group(name, deadline) for name in names]

    async def _group(self, name: str, deadline: Deadline) -> GroupDescription:
        what = f"group {name} cannot be described"
        response = await self._ask_coordinator(
            name, DescribeGroupsRequest([name]), lambda answer: int(answer.groups[0][0]), what, deadline
        )
        code, _, state, _, _, members, *_ = response.groups[0]
        if code == _GROUP_ID_NOT_FOUND:
            return GroupDescription(name, "dead", None, ())
        if code:
            raise refusal(code, what)
        described = tuple(MemberDescription(member[0], _held(member[4])) for member in members)
        return GroupDescription(name, state_word(state), None, described)

    async def committed(
        self,
        group: str,
        partitions: Sequence[TopicPartition],
        timeout_s: float,
        *,
        is_stable: bool = True,
    ) -> dict[TopicPartition, int | None]:
        """The group's stored next offsets; if ``is_stable``, as of after the transactions that are
        open, which are waited for within the bound."""
        if not partitions:
            return {}
        what = f"the stored offsets of group {group} are not known"
        topics = _grouped(partitions)
        request: Any = OffsetFetchRequest(group, list(topics.items()))
        if is_stable:
            request = StableOffsetFetch(group, topics)
        response = await self._ask_coordinator(group, request, code_in, what, Deadline(timeout_s))
        if code := code_in(response):
            raise refusal(code, what)
        return offsets_in(response)

    async def leave(self, group: str, member_id: str, timeout_s: float) -> None:
        """Take a member out of its group, over connections that no join blocks."""
        request = LeaveGroupRequest(group, member_id)
        what = f"group {group} could not be left"
        await self._ask_coordinator(
            group, request, lambda answer: int(answer.error_code), what, Deadline(timeout_s)
        )

    # -- offsets ---------------------------------------------------------------------------

    async def offsets_at(
        self, partitions: Iterable[TopicPartition], place: Position, isolation: str, timeout_s: float
    ) -> dict[TopicPartition, int]:
        """The offset of a place in each log. The end of a log under ``read_committed`` is its last
        stable offset; a time beyond the last record is the end."""
        chosen = list(partitions)
        if isinstance(place, int):
            return dict.fromkeys(chosen, place)
        deadline = Deadline(timeout_s)
        if not isinstance(place, AtTime):
            return await self._offsets(chosen, _ENDS[place], isolation, deadline)
        found = await self._offsets(chosen, max(0, place.timestamp_ms), isolation, deadline)
        beyond = [partition for partition, offset in found.items() if offset < 0]
        return {**found, **await self._offsets(beyond, _ENDS["end"], isolation, deadline)}

    async def _offsets(
        self, partitions: Sequence[TopicPartition], at: int, isolation: str, deadline: Deadline
    ) -> dict[TopicPartition, int]:
        """Asked again while leaders move, within the bound: that is the answer of a moment."""
        while True:
            try:
                return await self._offsets_now(partitions, at, isolation, deadline)
            except _Moving as moving:
                if deadline.is_over:
                    raise refusal(moving.code, "the offsets cannot be found") from moving
            await asyncio.sleep(_LOOK_S)

    async def _offsets_now(
        self, partitions: Iterable[TopicPartition], at: int, isolation: str, deadline: Deadline
    ) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = {}
        for leader, logs in (await self._by_leader(partitions, deadline)).items():
            topics = [
                (topic, [(index, at) for index in indexes]) for topic, indexes in _grouped(logs).items()
            ]
            request = OffsetRequest(-1, _ISOLATION[isolation], topics)
            response = await self._ask(leader, request, "the offsets cannot be found", deadline)
            for topic, answers in response.topics:
                for index, code, _, offset in answers:
                    if code in MOVING:
                        raise _Moving(code)
                    if code:
                        raise refusal(code, f"the offsets of {topic}[{index}] cannot be found")
                    found[TopicPartition(topic, index)] = offset
        return found

    # -- inside ----------------------------------------------------------------------------

    async def _topics(self, names: list[str] | None, deadline: Deadline) -> list[Any]:
        """Code, name, whether internal, and partitions of each topic; brokers are learned besides."""
        response = await bounded(self._client.metadata(names), "no metadata from the brokers", deadline)
        self._client.cluster.update_metadata(response)
        return list(response.topics)

    async def _by_leader(
        self, partitions: Iterable[TopicPartition], deadline: Deadline
    ) -> dict[int, list[TopicPartition]]:
        """The logs of each broker, asked for now."""
        logs = list(partitions)
        if not logs:
            return {}
        leaders: dict[TopicPartition, int] = {}
        for code, name, _, found in await self._topics(sorted({log.topic for log in logs}), deadline):
            if code in MOVING:
                raise _Moving(code)
            if code:
                raise refusal(code, f"topic {name} cannot be found")
            leaders.update({TopicPartition(name, partition[1]): partition[2] for partition in found})
        sorted_logs: dict[int, list[TopicPartition]] = defaultdict(list)
        for log in logs:
            if log not in leaders:
                raise refusal(3, f"{log.topic}[{log.partition}] cannot be found")
            if leaders[log] < 0:
                raise _Moving(5)
            sorted_logs[leaders[log]].append(log)
        return sorted_logs

    async def _ask(
        self, node: int | None, request: Any, what: str, deadline: Deadline, *, is_reading: bool = True
    ) -> Any:
        """The answer of this broker, or of any that has a connection for ``None``."""
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()] if node is None else [node]
        random.shuffle(nodes)
        for chosen in nodes[:-1]:
            if await bounded(self._client.ready(chosen), what, deadline):
                return await bounded(self._client.send(chosen, request), what, deadline, definite=is_reading)
        return await bounded(self._client.send(nodes[-1], request), what, deadline, definite=is_reading)

    async def _ask_controller(self, request: Any, errors: str, what: str, deadline: Deadline) -> Any:
        """Ask again when the controller has moved."""
        while True:
            controller = self._client.cluster.controller
            if controller is None:
                await self._topics([], deadline)
                controller = self._client.cluster.controller
            node = None if controller is None else controller.nodeId
            response = await self._ask(node, request, what, deadline, is_reading=False)
            if all(answer[1] != _NOT_CONTROLLER for answer in getattr(response, errors)):
                return response
            if deadline.is_over:
                raise refusal(_NOT_CONTROLLER, what)
            await asyncio.sleep(_LOOK_S)
            await self._topics([], deadline)

    async def _ask_coordinator(
        self, group: str, request: Any, code_in: Callable[[Any], int], what: str, deadline: Deadline
    ) -> Any:
        """Ask the group's coordinator, and again while it moves or loads, within the bound."""
        while True:
            found = await self._ask(None, FindCoordinatorRequest(group, 0), what, deadline)
            code = found.error_code
            if not code:
                try:
                    response = await self._ask(found.coordinator_id, request, what, deadline)
                except Unreachable:
                    # A broker that is new is not known yet, or this one has just gone.
                    if deadline.is_over:
                        raise
                    await self._topics([], deadline)
                else:
                    code = code_in(response)
                    if code not in _COORDINATOR_WAITS:
                        return response
            elif code not in _COORDINATOR_WAITS:
                raise refusal(code, what)
            if deadline.is_over:
                raise refusal(code or 15, what)
            await asyncio.sleep(_LOOK_S)

    async def _until(self, is_seen: Callable[[], Awaitable[bool]], what: str, deadline: Deadline) -> None:
        """The controller has answered; the brokers learn of it a moment later."""
        while not await is_seen():
            if deadline.is_over:
                raise TimedOut(f"{what} after {deadline.timeout_s} s; look again later", definite=False)
            await asyncio.sleep(_LOOK_S)


def _grouped(logs: Iterable[TopicPartition]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = defaultdict(list)
    for topic, partition in logs:
        topics[topic].append(partition)
    return topics


def _described(name: str, partitions: int, settings: Mapping[str, str | None]) -> TopicDescription:
    return TopicDescription(
        name,
        partitions,
        retention_ms=limit(settings["retention.ms"]),
        retention_bytes=limit(settings["retention.bytes"]),
        is_compacted="compact" in (settings["cleanup.policy"] or ""),
    )


def _held(assignment: bytes) -> tuple[TopicPartition, ...]:
    if not assignment:
        return ()
    decoded: Any = ConsumerProtocolMemberAssignment.decode(assignment)
    return tuple(sorted(TopicPartition(*log) for log in decoded.partitions()))
