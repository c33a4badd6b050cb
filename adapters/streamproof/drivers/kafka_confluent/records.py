"""The library's messages as records."""

from collections.abc import Sequence
from typing import Any

from streamproof.records import RawRecord, Record


def records_of(messages: Sequence[Any], one_topic: str | None) -> list[RawRecord]:
    """The records of those messages that are no errors: fewer than messages, if there are any.

    ``one_topic`` is the topic of all of them, where that is known; the library would make a new
    string for each message. A record without a timestamp has -1.
    """
    # One look at each message while it is in the processor's cache: column by column, even inside
    # of C, takes longer.
    return [
        Record(
            one_topic or message.topic(),
            message.partition(),
            message.offset(),
            message.key(),
            message.value(),
            message.timestamp()[1],
            tuple(headers) if (headers := message.headers()) else (),
        )
        for message in messages
        if message.error() is None
    ]
