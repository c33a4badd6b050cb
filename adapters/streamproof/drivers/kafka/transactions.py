"""What Kafka's error codes mean to a transaction, for every client library.

The class of a code stands in :data:`~streamproof.drivers.kafka.errors.MEANINGS`; here is what it says
about the transaction. A coordinator that refuses has not done it, so a refusal is certain, unless an
earlier attempt of the same request went unanswered: that one may have been taken.
"""

from streamproof.drivers.kafka.errors import meaning_of
from streamproof.errors import (
    AccessDenied,
    ConfigurationError,
    Fenced,
    NotAssigned,
    StreamproofError,
    TimedOut,
    TransactionAborted,
    TransactionUnknown,
    Unreachable,
    Unsupported,
)

_FENCED_INSTANCE_ID = 82
_UNKNOWN_TOPIC_OR_PART = 3
"""A coordinator's word for a topic that it has not heard of yet."""

_SPEAKING = (AccessDenied, ConfigurationError, NotAssigned, Unsupported)
"""Classes that tell more than that the transaction cannot be committed."""


def is_passing(code: int) -> bool:
    """Whether the same request may succeed in a moment: a coordinator loads or moves, or is still
    ending the former transaction of this id."""
    return code == _UNKNOWN_TOPIC_OR_PART or meaning_of(code).error in (TimedOut, Unreachable)


def refused(
    code: int,
    what: str,
    reason: str,
    cause: BaseException | None = None,
    *,
    was_first: bool = True,
    can_recover: bool = False,
) -> StreamproofError:
    """A refusal that is no answer of a moment.

    ``was_first`` says that no earlier attempt can have been taken; else a commit may stand.
    ``can_recover`` is the library's word that this producer can go on after an abort, whatever the
    code says: old epochs, for one, can be its own.
    """
    meaning = meaning_of(code)
    text = f"{what}: {reason}; {meaning.remedy}"
    error: StreamproofError
    if code == _FENCED_INSTANCE_ID:
        error = NotAssigned(text)
    elif meaning.error is Fenced and not can_recover:
        error = Fenced(text, definite=was_first)
    elif not was_first:
        error = TransactionUnknown(f"{text}; an earlier attempt may have been taken")
    elif meaning.error in _SPEAKING:
        error = meaning.error(text)
    else:
        error = TransactionAborted(text)
    error.__cause__ = cause
    return error


def certain(failure: StreamproofError, place: str) -> StreamproofError:
    """The outcome of a send that failed, in a transaction which therefore does not commit."""
    if failure.definite:
        return failure
    if not isinstance(failure, Fenced):
        return unseen(place, str(failure), failure.__cause__)
    fenced = Fenced(str(failure), definite=True)
    fenced.__cause__ = failure.__cause__
    return fenced


def unseen(place: str, reason: str, cause: BaseException | None = None) -> TransactionAborted:
    """The outcome of a send whose transaction can no longer commit. It may stand in the log, for
    those who read uncommitted records; no other reader will ever see it, and that is certain."""
    error = TransactionAborted(
        f"not sent to {place}, or never to be seen by its read-committed readers: {reason}; "
        "its transaction cannot be committed"
    )
    error.__cause__ = cause
    return error


def cannot_commit(why: BaseException | str) -> TransactionAborted:
    """What happened in this transaction before does not let it commit."""
    error = TransactionAborted(f"the transaction cannot be committed: {why}; do it again")
    if isinstance(why, BaseException):
        error.__cause__ = why
    return error


def no_answer(is_commit: bool, timeout_s: float, reason: str) -> TransactionUnknown:
    """The bound of an ending passed."""
    if is_commit:
        return TransactionUnknown(
            f"no answer to the commit within {timeout_s} s ({reason}): the transaction is committed as a "
            "whole or not at all; the stored progress tells, once this producer is initialised anew"
        )
    return TransactionUnknown(
        f"no answer to the abort within {timeout_s} s ({reason}): nothing of the transaction will be seen, "
        "but it stays open until this producer is initialised anew, or the broker's time for it is over"
    )


def overdue(open_s: float, timeout_s: float) -> str:
    """What to add to a fencing that may have another cause than a newer producer: the broker ends a
    transaction that is too long by fencing its producer, and does not tell the difference."""
    if open_s < timeout_s:
        return ""
    return (
        f" (it was open for {open_s:.1f} s, longer than transaction_timeout_s={timeout_s:g}: then the broker "
        "aborts it and fences its producer; make transactions shorter, or the time longer)"
    )
