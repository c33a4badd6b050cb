"""What a publish is checked for before it leaves, in both colours."""

from collections.abc import Iterator
from dataclasses import dataclass

from streamproof.core.partitioner import partition_for
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.topology import MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES_4, Endpoint
from streamproof.drivers.rabbitmq.wire import largest_properties
from streamproof.errors import ConfigurationError, RecordTooLarge, StreamproofError, Unsupported
from streamproof.options import ProducerOptions
from streamproof.records import Headers

_ROOM_FOR_THE_REST = 256
"""Properties beside key and headers, with room for what the server adds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest body, and the largest key and headers together, in bytes."""

    body: int
    properties: int


def limits_of(endpoint: Endpoint, version: tuple[int, ...], frame_max: int) -> Limits:
    """The limits of this connection. The server does not tell its ``max_message_size``: its
    default is assumed, unless the URL says ``max_message_bytes``."""
    default = MAX_MESSAGE_BYTES_4 if version >= (4,) else MAX_MESSAGE_BYTES
    return Limits(endpoint.max_message_bytes or default, largest_properties(frame_max) - _ROOM_FOR_THE_REST)


def too_large(limits: Limits, size: int, key: bytes | None, headers: Headers) -> StreamproofError | None:
    """Why the server would close the channel over this record, or ``None``."""
    if size > limits.body:
        return RecordTooLarge(
            f"the value has {size} bytes, the limit is {limits.body}: send less, or raise the server's "
            "max_message_size and max_message_bytes in the URL"
        )
    if key is None and not headers:
        return None
    beside = len(key or b"")
    for name, value in headers:
        beside += 4 * len(name) + len(value or b"") + 10
    if beside > limits.properties:
        return RecordTooLarge(
            f"key and headers have about {beside} bytes, AMQP carries {limits.properties}: use the value"
        )
    return None


def choose_partition(
    topic: TopicCreated, key: bytes | None, partition: int | None, turn: Iterator[int]
) -> int:
    """The partition of a record, or -1 if the topic has no such one."""
    if partition is not None:
        return partition if 0 <= partition < topic.partitions else -1
    if key is not None:
        return partition_for(key, topic.partitions)
    return next(turn) % topic.partitions


def require_publishable(options: ProducerOptions) -> None:
    """Refuse options that RabbitMQ cannot honour. ``acks`` weaker than ``all`` get more than they ask."""
    if options.transactional_id is not None:
        raise Unsupported(
            "RabbitMQ has no transactions over several queues: use confirms, and deduplicate where the "
            "records are handled"
        )
    if options.compression != "none":
        raise Unsupported(
            f"compression={options.compression!r}: AMQP compresses nothing; compress the values themselves"
        )
    require_no_native(options.native)


def require_no_native(native: dict[str, object]) -> None:
    """There are no settings of the client libraries that can be passed through."""
    if native:
        raise ConfigurationError(
            f"native={sorted(native)}: the RabbitMQ drivers take no settings of their libraries; connection "
            "options go into the URL"
        )
