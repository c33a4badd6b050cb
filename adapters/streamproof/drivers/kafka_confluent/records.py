"""The library's messages as records."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import itemgetter

from streamproof.drivers.kafka_confluent.client import Message
from streamproof.records import Headers, RawRecord, Record

_timestamp = itemgetter(1)


def has_errors(messages: Sequence[Message]) -> bool:
    """Whether some of these tell of an error instead of holding a record."""
    return any(map(Message.error, messages))


def records_of(messages: Sequence[Message], one_topic: str | None) -> list[RawRecord]:
    """Column by column: each ``map`` runs inside of C, which a loop over the messages would not.

    ``one_topic`` is the topic of all of them, where that is known; the library would make a new
    string for each message. A record without a timestamp has -1.
    """
    topics: Iterable[str | None] = map(Message.topic, messages) if one_topic is None else repeat(one_topic)
    headers: Iterable[Headers] = repeat(())
    found = list(map(Message.headers, messages))
    if any(found):
        headers = [tuple(pairs) if pairs else () for pairs in found]  # type: ignore[arg-type]
    columns = (
        topics,
        map(Message.partition, messages),
        map(Message.offset, messages),
        map(Message.key, messages),
        map(Message.value, messages),
        map(_timestamp, map(Message.timestamp, messages)),
        headers,
    )
    return list(map(Record, *columns))
