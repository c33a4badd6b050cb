"""What a dead letter carries besides its unchanged key, value and headers: where it came from, and why."""

from typing import Any

import msgspec

from streamproof.records import Headers, Record

_PREFIX = "streamproof-dead-"


class DeadLetterHeaders(msgspec.Struct, frozen=True):
    """The added headers, each under the prefix ``streamproof-dead-``. Times are ms since the epoch."""

    topic: str
    partition: int
    group: str
    cause: str
    attempts: int
    offset: int | None = None

    def added_to(self, headers: Headers) -> Headers:
        """The record's own headers, unchanged, and then these."""
        own = tuple(
            (_PREFIX + name, str(value).encode())
            for name, value in msgspec.structs.asdict(self).items()
            if value is not None
        )
        return headers + own

    @classmethod
    def read(cls, record: Record[Any, Any]) -> "DeadLetterHeaders | None":
        """The headers of a dead letter; ``None`` for a record that is none."""
        found = {
            name.removeprefix(_PREFIX): value.decode()
            for name, value in record.headers
            if name.startswith(_PREFIX) and value is not None
        }
        if not found:
            return None
        return msgspec.convert(found, cls, strict=False)


def original_headers(headers: Headers) -> Headers:
    """The headers as they were before the record died."""
    return tuple((name, value) for name, value in headers if not name.startswith(_PREFIX))
