"""Questions to the coordinators of transactions and groups, asked again within a bound.

aiokafka asks them in the task that sends records, without a bound, and ends that task at an answer it
does not expect. Here an answer is a code.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import errors as native_errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from streamproof.drivers.kafka.errors import meaning_of
from streamproof.drivers.kafka.transactions import is_passing
from streamproof.drivers.kafka_aiokafka.client import FOREIGN, CarefulClient, Deadline, code_of, reason_of
from streamproof.records import TopicPartition

_BETWEEN_ASKS_S = 0.02
"""Short, since the coordinator ends the former transaction of an id in about that time."""

_LEAST_S = 0.01
_MOVED = frozenset({15, 16})
_NOT_ATTEMPTED = 55
"""Of a log, because of another one in the same request."""


class Identity(NamedTuple):
    """What the coordinator knows a producer by; a later epoch fences an earlier one."""

    producer_id: int
    epoch: int


class Answer(NamedTuple):
    """The coordinator's last word: 0, or a code that is none of a moment."""

    code: int
    was_first: bool = True
    """Whether no attempt before it went unanswered, and may have been taken."""
    identity: Identity | None = None

    @property
    def reason(self) -> str:
        """Kafka's name of the code."""
        return meaning_of(self.code).name or f"error {self.code}"


class Unanswered(Exception):
    """The bound passed; the text says what came last."""


class Coordination:
    """The five questions of a transactional producer."""

    def __init__(self, client: CarefulClient, transactional_id: str) -> None:
        self._client = client
        self._id = transactional_id
        self._nodes: dict[tuple[CoordinationType, str], int] = {}

    async def initialise(self, timeout_ms: int, deadline: Deadline) -> Answer:
        """Take the id over; the answer has the identity."""
        request = InitProducerIdRequest(self._id, timeout_ms)
        answer, response = await self._ask(request, lambda found: [found.error_code], deadline)
        if answer.code:
            return answer
        return answer._replace(identity=Identity(response.producer_id, response.producer_epoch))

    async def add_logs(
        self, identity: Identity, logs: Iterable[TopicPartition], deadline: Deadline
    ) -> Answer:
        """Let these logs join the transaction, before the first record."""
        topics: dict[str, list[int]] = defaultdict(list)
        for topic, partition in logs:
            topics[topic].append(partition)
        request = AddPartitionsToTxnRequest(self._id, *identity, list(topics.items()))
        answer, _ = await self._ask(
            request, lambda found: [code for _, logs in found.errors for _, code in logs], deadline
        )
        return answer

    async def add_offsets(
        self,
        identity: Identity,
        group: str,
        offsets: Mapping[TopicPartition, int],
        deadline: Deadline,
    ) -> Answer:
        """Let a group's progress join the transaction: first its coordinator is told, then the group's."""
        joining = AddOffsetsToTxnRequest(self._id, *identity, group)
        answer, _ = await self._ask(joining, lambda found: [found.error_code], deadline)
        if answer.code:
            return answer
        topics: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for (topic, partition), offset in offsets.items():
            topics[topic].append((partition, offset, ""))
        request = TxnOffsetCommitRequest(self._id, group, *identity, list(topics.items()))
        answer, _ = await self._ask(
            request, lambda found: [code for _, logs in found.errors for _, code in logs], deadline, group
        )
        return answer

    async def end(self, identity: Identity, is_commit: bool, deadline: Deadline) -> Answer:
        """Commit or abort."""
        request = EndTxnRequest(self._id, *identity, is_commit)
        answer, _ = await self._ask(request, lambda found: [found.error_code], deadline)
        return answer

    async def _ask(
        self,
        request: Any,
        codes_in: Callable[[Any], Iterable[int]],
        deadline: Deadline,
        group: str | None = None,
    ) -> tuple[Answer, Any]:
        """Ask until there is an answer that counts; :class:`Unanswered`."""
        role = CoordinationType.TRANSACTION if group is None else CoordinationType.GROUP
        key = role, self._id if group is None else group
        was_first, response = True, None
        while True:
            try:
                async with asyncio.timeout(max(_LEAST_S, deadline.left_s)):
                    if key not in self._nodes:
                        self._nodes[key] = await self._client.coordinator_lookup(*key)
                    response = await self._client.send(
                        self._nodes[key], request, group=ConnectionGroup.COORDINATION
                    )
                code = _worst(codes_in(response))
            except FOREIGN as cause:
                code, reason = code_of(cause), reason_of(cause)
                is_sent = key in self._nodes and not isinstance(cause, native_errors.NodeNotReadyError)
                was_first = was_first and not is_sent
                self._nodes.pop(key, None)
            else:
                reason = meaning_of(code).name
            if not code or not is_passing(code):
                return Answer(code, was_first), response
            if code in _MOVED:
                self._nodes.pop(key, None)
            if deadline.left_s <= _BETWEEN_ASKS_S:
                raise Unanswered(reason)
            await asyncio.sleep(_BETWEEN_ASKS_S)


def _worst(codes: Iterable[int]) -> int:
    """The code that decides: a refusal, else one of a moment, else none."""
    found = {code for code in codes if code not in (0, _NOT_ATTEMPTED)}
    return next((code for code in sorted(found) if not is_passing(code)), next(iter(sorted(found)), 0))
