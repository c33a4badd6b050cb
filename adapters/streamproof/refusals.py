"""What a backend cannot do, refused in one place with what, why, and what to use instead."""

from typing import Any

from streamproof.capabilities import Capabilities
from streamproof.errors import Unsupported, UsageError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import AtTime, Position, TopicSpec


def require_group(options: ConsumerOptions, what: str) -> None:
    """Progress is kept by groups only."""
    if options.group is None:
        raise UsageError(f"{what} needs a group: pass group='name' to bus.consumer")


def require_offsets(capabilities: Capabilities, options: ConsumerOptions, what: str) -> None:
    """Groups on some backends read queues, whose messages have no offsets."""
    if options.group is not None and not capabilities.has_group_offsets:
        raise Unsupported(
            f"{what} is not possible in a group here: its queues have no offsets; "
            "read without a group to see offsets"
        )
    if options.group is None and not capabilities.can_replay:
        raise Unsupported(f"{what} is not possible here: no log is kept; connect with the log switched on")


def require_seek(capabilities: Capabilities, options: ConsumerOptions, place: Position) -> None:
    """Whether this consumer can be moved to that place."""
    if options.group is None:
        if not capabilities.can_replay:
            raise Unsupported("seek is not possible here: no log is kept; connect with the log switched on")
        return
    if isinstance(place, AtTime) and not capabilities.can_seek_time:
        raise Unsupported("seek to a time is not possible in a group here: read without a group to replay")
    if not capabilities.can_seek:
        raise Unsupported("seek is not possible in a group here: read without a group to replay")


def require_consumer(capabilities: Capabilities, options: ConsumerOptions) -> None:
    """Whether this backend can read so at all."""
    if options.pattern is not None and not capabilities.can_match_pattern:
        raise Unsupported("this backend cannot subscribe by pattern: name the topics")
    if options.group is None and not capabilities.can_replay:
        raise Unsupported(
            "reading without a group needs a log, and this connection keeps none: name a group, "
            "or connect with the log switched on"
        )


def require_producer(capabilities: Capabilities, options: ProducerOptions) -> None:
    """Whether this backend can send so."""
    if options.transactional_id is not None and not capabilities.can_transact:
        raise Unsupported(
            "this backend has no transactions: use effect-once, that is, publisher confirms, "
            "and deduplication where the records are handled"
        )


def require_topic(capabilities: Capabilities, topic: TopicSpec) -> None:
    """Whether this backend can keep such a topic."""
    if topic.is_compacted and not capabilities.can_compact:
        raise Unsupported("this backend cannot compact a topic: keep the last value of each key in a store")
    wants_retention = topic.retention_ms is not None or topic.retention_bytes is not None
    if wants_retention and not capabilities.can_retain:
        raise Unsupported("this backend cannot limit what a topic keeps: leave retention out")


def vanish(driver: Any) -> None:
    """End a driver's producer or consumer as a crash would; only what lives in this process can."""
    crash = getattr(driver, "crash", None)
    if crash is None:
        raise Unsupported("this backend's client cannot vanish alone: run it in a process and kill that")
    crash()
