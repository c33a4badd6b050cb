"""What RabbitMQ says, in this package's errors: the one table of reply codes, the one of outcomes.

**What becomes of a publish**

===============================================  =====================================================
refused before it left (unknown topic, size)     the error, definite
still queued here when its time was up           :class:`TimedOut`, definite
``basic.return``, then ``basic.ack``             :class:`UnknownTopic`, definite: it reached no queue
``basic.ack``                                    acknowledged
``basic.nack``                                   :class:`DeliveryUnknown`: one queue of several may hold
                                                 it, and a queue that failed may have stored it
channel or connection gone, no word yet          :class:`DeliveryUnknown`
no word within ``delivery_timeout_s``            :class:`DeliveryUnknown`
===============================================  =====================================================

Source: AMQP 0-9-1, section 1.2 (reply codes); RabbitMQ, "Consumer Acknowledgements and Publisher
Confirms".
"""

from streamproof.errors import (
    AccessDenied,
    BackendError,
    Closed,
    DeliveryUnknown,
    RecordTooLarge,
    StreamproofError,
    UnknownTopic,
    Unreachable,
)

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530

_NOT_YET = ("is down or inaccessible", "process is stopped by supervisor")
"""What RabbitMQ calls not found while a queue recovers after a restart."""


class Locked(BackendError):
    """Another connection holds the exclusive queue of that name."""

    retriable = True


class Missing(BackendError):
    """There is no such queue or exchange."""


class ConnectionLost(Unreachable):
    """The connection is gone, with all its channels, and is made again."""


CONNECTION_ENDED = (ConnectionLost, Closed)
"""A channel's errors that mean the end of its connection; any other leaves the connection as it is."""


def reply_error(code: int, text: str, doing: str) -> StreamproofError:
    """The error for a channel or connection that the server closed while ``doing`` something."""
    told = f"{doing}: RabbitMQ says {code} {text}"
    if code == ACCESS_REFUSED:
        return AccessDenied(f"{told}; check the user, the password and its permissions on the virtual host")
    if code == NOT_ALLOWED:
        return AccessDenied(f"{told}; check the name of the virtual host and who may use it")
    if code == NOT_FOUND and any(sign in text for sign in _NOT_YET):
        return Unreachable(f"{told}; try again later")
    if code == NOT_FOUND:
        return Missing(told)
    if code == RESOURCE_LOCKED:
        return Locked(told)
    if code == PRECONDITION_FAILED and "message size" in text:
        return RecordTooLarge(f"{told}; lower max_message_bytes in the URL to the server's max_message_size")
    if code in (320, 541) or code < 300:
        return Unreachable(f"{told}; the connection is made again")
    return BackendError(told)


def lost(doing: str, why: object) -> ConnectionLost:
    """The connection ended while ``doing`` something."""
    return ConnectionLost(f"{doing}: the connection to RabbitMQ was lost ({why}); it is made again")


def unknown_delivery(why: str) -> DeliveryUnknown:
    """A publish with no final word."""
    return DeliveryUnknown(f"{why}; the record may be stored or not: sending it again may double it")


def unknown_topic(topic: str, partition: int | None = None, partitions: int | None = None) -> UnknownTopic:
    """No such topic, or no such partition of it."""
    if partitions is None:
        return UnknownTopic(
            f"there is no topic {topic!r}: create it with bus.admin().create_topic({topic!r})"
        )
    return UnknownTopic(f"topic {topic!r} has no partition {partition}: it has {partitions}, numbered from 0")


def returned(topic: str, partition: int, has_log: bool) -> StreamproofError:
    """A mandatory message that came back: no queue took it."""
    if has_log:
        return UnknownTopic(f"{topic}[{partition}] took no record: the topic was deleted")
    return BackendError(
        f"{topic}[{partition}] took no record: the topic keeps no log and no group reads it yet; "
        "start a consumer of a group first, or create the topic with the log switched on",
        retriable=True,
    )
