"""Names and arguments of the exchanges and queues that stand for topics, logs and groups.

==================================  ============================================================
``streamproof.meta``                stream: the definitions, in order (:mod:`rabbitmq_catalogue`)
``streamproof/topic/T/ID``          direct exchange of topic T; routing key = partition number
``streamproof/topic/T/ID/P``        stream: the log of partition P
``streamproof/topic/T/ID/P/G``      quorum queue, single active consumer: P as group G reads it
``streamproof/group/G``             stream: the group's membership, in order (:mod:`core.membership`)
``streamproof/member/M``            exclusive queue: member M's heartbeats; gone when M is
``streamproof/lock/G/ID``           exclusive queue: held while group G is set up on a topic
==================================  ============================================================

``ID`` is drawn anew whenever a topic is created, so that two creators never share a queue, and a
topic that was deleted and created again never meets what is left of the former one.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from streamproof.errors import ConfigurationError
from streamproof.url import Address, parse_flag

META = "streamproof.meta"
_NAME_LIMIT = 255
"""Bytes of an AMQP name."""

_LARGEST_SEGMENT = 500_000_000
_SMALLEST_SEGMENT = 4_096
_SEGMENTS_KEPT = 4

MAX_MESSAGE_BYTES = 134_217_728
"""The largest message RabbitMQ before 4.0 takes by default."""
MAX_MESSAGE_BYTES_4 = 16_777_216
"""The same from 4.0 on."""


def fitted(name: str) -> str:
    """The name, or, where AMQP would not take it, its beginning and a digest of the whole."""
    raw = name.encode()
    if len(raw) <= _NAME_LIMIT:
        return name
    digest = sha256(raw).hexdigest()[:32]
    return raw[: _NAME_LIMIT - 33].decode(errors="ignore") + "~" + digest


def exchange_of(topic: str, topic_id: str) -> str:
    """The exchange that a topic's records are published to."""
    return fitted(f"streamproof/topic/{topic}/{topic_id}")


def stream_of(topic: str, topic_id: str, partition: int) -> str:
    """The stream queue that keeps one log."""
    return fitted(f"streamproof/topic/{topic}/{topic_id}/{partition}")


def group_queue_of(topic: str, topic_id: str, partition: int, group: str) -> str:
    """The queue that one group reads one log from."""
    return fitted(f"streamproof/topic/{topic}/{topic_id}/{partition}/{group}")


def control_of(group: str) -> str:
    """The stream of a group's membership."""
    return fitted(f"streamproof/group/{group}")


def inbox_of(member: str) -> str:
    """The queue that a member gets heartbeats in."""
    return fitted(f"streamproof/member/{member}")


def lock_of(group: str, topic_id: str) -> str:
    """The queue whose owner may set a group up on a topic."""
    return fitted(f"streamproof/lock/{group}/{topic_id}")


def stream_arguments(
    retention_ms: int | None = None, retention_bytes: int | None = None, replication: int | None = None
) -> dict[str, Any]:
    """Arguments of a stream queue.

    A stream forgets whole segments, when a new one begins: with a limit by size segments are a
    quarter of it, so between 1 and 1.25 times the limit is kept; by time the age is rounded up to
    seconds, and nothing goes before a segment is full.
    """
    arguments: dict[str, Any] = {"x-queue-type": "stream"}
    if retention_ms is not None:
        arguments["x-max-age"] = f"{max(1, -(-retention_ms // 1000))}s"
    if retention_bytes is not None:
        arguments["x-max-length-bytes"] = max(1, retention_bytes)
        arguments["x-stream-max-segment-size-bytes"] = min(
            _LARGEST_SEGMENT, max(_SMALLEST_SEGMENT, retention_bytes // _SEGMENTS_KEPT)
        )
    if replication is not None:
        arguments["x-initial-cluster-size"] = replication
    return arguments


def group_queue_arguments(version: tuple[int, ...], replication: int | None = None) -> dict[str, Any]:
    """Arguments of a group's queue. RabbitMQ 4 drops a message at its 20th redelivery unless told
    otherwise; 3.x has no limit unless one is named, and takes -1 for one that is passed at once."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    if version >= (4,):
        arguments["x-delivery-limit"] = -1
    if replication is not None:
        arguments["x-quorum-initial-group-size"] = replication
    return arguments


def version_of(server_properties: dict[str, Any] | None) -> tuple[int, ...]:
    """The server's version as numbers, ``(0,)`` if it tells none."""
    told = (server_properties or {}).get("version", "")
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    numbers = []
    for part in text.split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) or (0,)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address as AMQP clients take it."""

    hosts: tuple[tuple[str, int], ...]
    vhost: str
    username: str
    password: str
    has_log: bool
    heartbeat_s: int
    max_message_bytes: int | None
    redacted: str


_OPTIONS = ("log", "heartbeat_s", "max_message_bytes")
_DEFAULT_PORT = 5672


def endpoint_of(address: Address) -> Endpoint:
    """What ``amqp://user:password@host:port,…/vhost?log=on&heartbeat_s=30&max_message_bytes=…``
    says; an empty path is the virtual host ``/``. :class:`ConfigurationError` for anything else."""
    unknown = sorted(set(address.options) - set(_OPTIONS))
    if unknown:
        raise ConfigurationError(
            f"unknown option {unknown[0]!r} in {address.redacted}: amqp:// takes {', '.join(_OPTIONS)}"
        )
    limit = address.options.get("max_message_bytes")
    return Endpoint(
        hosts=tuple(_host(host, address) for host in address.hosts or ("127.0.0.1",)),
        vhost=address.path or "/",
        username=address.username or "guest",
        password=address.password or "guest",
        has_log=parse_flag("log", address.options.get("log", "on")),
        heartbeat_s=_whole("heartbeat_s", address.options.get("heartbeat_s", "30")),
        max_message_bytes=None if limit is None else _whole("max_message_bytes", limit),
        redacted=address.redacted,
    )


def _host(host: str, address: Address) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.strip("[]"), _DEFAULT_PORT
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{host!r} in {address.redacted} has no port number after its colon")
    return name.strip("[]"), int(port)


def _whole(name: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise ConfigurationError(f"{name}={value!r} is not possible: give a whole number from 1 on")
    return int(value)
