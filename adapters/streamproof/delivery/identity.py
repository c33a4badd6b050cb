"""What makes a record the same record when it comes again: the key under which its effect is marked.

A delivery that is repeated (a crash before the ack, a rebalance) has the offset of the first. A *send*
that is repeated (its first outcome was unknown, or an outbox was interrupted) has another offset and
the same id: only a header that the sender sets once tells that the two are one.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from streamproof.errors import ConfigurationError, UsageError
from streamproof.records import Record

RECORD_ID: Final = "streamproof-id"
"""The header that carries a record's id. The outbox and the confirmed sender set it."""

KEY_LIMIT: Final = 512
"""Characters of a mark's key at most: databases limit what they index."""

_ID_LIMIT = 200
_SCOPE_LIMIT = 200


def new_record_id() -> str:
    """An id that no other record has (a random UUID). Draw it once for each record, and keep it when the
    record is sent again."""
    return uuid4().hex


def record_identity(record: Record[Any, Any]) -> str:
    """The identity of a record: the id in its header :data:`RECORD_ID`, else its place in the log.

    A place is stable for repeated deliveries only, and until the topic is deleted and made anew.
    Raises :class:`UsageError` for a record that has neither: RabbitMQ's groups tell no offsets.
    """
    return identity_by(RECORD_ID)(record)


def identity_by(header: str) -> Callable[[Record[Any, Any]], str]:
    """:func:`record_identity` with another header: the one that the producers at hand use for ids."""

    def identity(record: Record[Any, Any]) -> str:
        raw = record.header(header)
        if raw:
            return _from_id(raw)
        if record.offset is not None:
            return f"at:{record.topic}/{record.partition}/{record.offset}"
        raise UsageError(
            f"a record of {record.topic} has neither the header {header!r} nor an offset (this backend's "
            f"groups tell none), so nothing says whether it came before: let its producer set the header, "
            f"headers={{{header!r}: new_record_id()}}, or pass key=, a function of the record"
        )

    return identity


def scoped(scope: str, identity: str) -> str:
    """The key of a mark: the same record may have one effect in each scope. No two pairs share a key."""
    key = f"{quote(scope, safe='')}/{identity}"
    return key if len(key) <= KEY_LIMIT else f"{quote(scope, safe='')}/sha256:{_digest(identity.encode())}"


def require_scope(scope: object) -> None:
    """What names the place of effects is a short text."""
    is_text = isinstance(scope, str) and bool(scope) and scope.isprintable()
    if not is_text or len(quote(str(scope), safe="")) > _SCOPE_LIMIT:
        raise ConfigurationError(
            f"scope={scope!r} is not possible: name what the effect is, e.g. the consumer's group, "
            f"in at most {_SCOPE_LIMIT} characters"
        )


def require_key(key: object) -> None:
    """What every store can keep: 1 to 512 characters of text without NUL."""
    if not isinstance(key, str):
        raise UsageError(f"the key of a mark is a str, not a {type(key).__name__}")
    if not key or len(key) > KEY_LIMIT or "\0" in key:
        raise UsageError(f"a mark's key has 1 to {KEY_LIMIT} characters and no NUL; this one has {len(key)}")
    try:
        key.encode()
    except UnicodeEncodeError as cause:
        raise UsageError(f"a mark's key is text that can be written as UTF-8: {cause}") from cause


def _from_id(raw: bytes) -> str:
    """An id as text, or its digest where it is long or no plain text; a prefix tells them apart."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"id-sha256:{_digest(raw)}"
    is_plain = len(text) <= _ID_LIMIT and text.isprintable()
    return f"id:{text}" if is_plain else f"id-sha256:{_digest(raw)}"


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
