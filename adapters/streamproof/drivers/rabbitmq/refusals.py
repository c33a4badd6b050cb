"""What a consumer is refused, in both colours."""

from streamproof.errors import NotAssigned, OffsetOutOfRange, Unsupported
from streamproof.records import TopicPartition


def not_assigned(log: TopicPartition) -> NotAssigned:
    """The log, or the connection that a record came on, is gone."""
    return NotAssigned(
        f"{log.topic}[{log.partition}] is not held any more, or its connection was lost: the record "
        "is delivered again to whoever holds the log then"
    )


def no_group_offsets(what: str) -> Unsupported:
    """A group reads queues."""
    return Unsupported(
        f"{what} is not possible in a group on RabbitMQ: it reads queues, whose messages have no offsets; "
        "read without a group to see and choose offsets"
    )


def no_progress(what: str) -> Unsupported:
    """Without a group nothing is stored."""
    return Unsupported(f"{what} needs a group on RabbitMQ, and a group acknowledges each record: use ack()")


def out_of_range(log: TopicPartition, offset: int, begin: int, end: int | None = None) -> OffsetOutOfRange:
    """An offset below the start of a log, or beyond its end."""
    place = f"{log.topic}[{log.partition}] has no offset {offset}: it begins at {begin}"
    if end is not None:
        place += f" and ends before {end}"
    return OffsetOutOfRange(f"{place}; seek to 'beginning', 'end' or an offset in between", log_start=begin)


def no_trimming() -> Unsupported:
    """Streams forget by age and size only."""
    return Unsupported(
        "RabbitMQ cannot trim a stream at an offset: create the topic with retention_ms or retention_bytes"
    )
