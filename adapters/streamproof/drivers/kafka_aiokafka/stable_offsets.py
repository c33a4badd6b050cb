"""Stored offsets, asked for as of after the transactions that are open (KIP-447).

aiokafka asks as if there were none (OffsetFetch v3), and so may get what a transaction, committed a
moment ago, is about to replace. These are the messages of version 7, with ``require_stable``; brokers
before Kafka 2.5 do not know them, and are asked as aiokafka does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from streamproof.records import TopicPartition

_Topics = Mapping[str, Sequence[int]]

_NONE: dict[int, bytes] = {}
_UNKNOWN_TOPIC_OR_PART = 3
"""A topic that is gone has nothing stored."""


class _Response(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Request(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetch(Request[OffsetFetchRequest_v3 | _Request]):
    """The question for a group's stored offsets, in the best form that the broker knows."""

    API_KEY = 9

    def __init__(self, group: str, topics: _Topics) -> None:
        self._group = group
        self._topics = topics

    def build(
        self, request_struct_class: type[OffsetFetchRequest_v3 | _Request]
    ) -> OffsetFetchRequest_v3 | _Request:
        """As aiokafka calls it, with the form that was chosen."""
        topics = [(topic, list(partitions)) for topic, partitions in self._topics.items()]
        if request_struct_class is OffsetFetchRequest_v3:
            return OffsetFetchRequest_v3(self._group, topics)
        return _Request(self._group, [(*topic, _NONE) for topic in topics], True, _NONE)


def code_in(response: Any) -> int:
    """The first error in an answer of either form."""
    codes = [int(getattr(response, "error_code", 0)), *(code for _, _, code in _answers(response))]
    return next((code for code in codes if code not in (0, _UNKNOWN_TOPIC_OR_PART)), 0)


def offsets_in(response: Any) -> dict[TopicPartition, int | None]:
    """The offsets in an answer without errors; ``None`` where none is stored."""
    return {log: offset if offset >= 0 else None for log, offset, _ in _answers(response)}


def _answers(response: Any) -> list[tuple[TopicPartition, int, int]]:
    """Log, offset and error code of each: the forms differ in what stands between and behind."""
    place = 4 if isinstance(response, _Response) else 3
    return [
        (TopicPartition(topic[0], answer[0]), int(answer[1]), int(answer[place]))
        for topic in response.topics
        for answer in topic[1]
    ]
