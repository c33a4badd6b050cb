"""Everything that crosses the seam as an exception.

One root, and each class answers two questions that decide what a caller may do next:

* ``retriable``: the same call can succeed later, without a change to the program.
* ``definite``: the operation was certainly *not* applied. ``False`` means that nobody knows:
  to send the record again may double it, not to send it again may lose it.

The client library's own exception, where there was one, is the ``__cause__``. No foreign
exception crosses the seam. A message says what happened, why, and what to do about it::

    StreamproofError
    ├── ConfigurationError        the settings are wrong; also a ValueError
    │   └── MissingExtra          a client library is not installed; also an ImportError
    ├── UsageError                the program is wrong: wrong type, wrong order of calls
    │   └── Closed                used after close
    ├── Unsupported               this backend cannot do that
    ├── SerializationError        a key or value could not be turned into bytes or back
    ├── BackendError              the backend refused or failed, in a way not named below
    │   ├── Unreachable           no connection, or it was lost           (retriable)
    │   ├── AccessDenied          authentication or authorisation failed
    │   ├── UnknownTopic          no such topic or partition
    │   ├── TopicExists           it is already there, with other settings
    │   ├── RecordTooLarge        above the limit of client or broker
    │   ├── OffsetOutOfRange      no such offset (any more)
    │   ├── Fenced                a newer producer or member took this one's place
    │   ├── TransactionAborted    nothing of the transaction will be seen; do it again (retriable)
    │   └── NotAssigned           an ack, commit or seek in a log that is no longer held
    ├── BufferFull                the local buffer stayed full for the whole timeout  (retriable)
    ├── TimedOut                  the bound passed before the answer came   (retriable)
    ├── DeliveryUnknown           sent, and then no word whether it was stored  (not definite)
    └── TransactionUnknown        committed or aborted, nobody knows which      (not definite)
"""

from typing import Any


class StreamproofError(Exception):
    """The root of all errors raised by this package."""

    retriable: bool = False
    definite: bool = True

    def __init__(self, message: str, *, retriable: bool | None = None, definite: bool | None = None) -> None:
        super().__init__(message)
        if retriable is not None:
            self.retriable = retriable
        if definite is not None:
            self.definite = definite


class ConfigurationError(StreamproofError, ValueError):
    """A URL, an option or a setting is wrong."""


class MissingExtra(ConfigurationError, ImportError):
    """The client library that a scheme needs is not installed; the message says what to install."""


class UsageError(StreamproofError):
    """The program called something with a wrong type or in a wrong order."""


class Closed(UsageError):
    """The object was closed before this call, or while it waited."""


class Unsupported(StreamproofError):
    """The backend cannot do this; the message says why, and what to use instead."""


class SerializationError(StreamproofError):
    """A key or value could not be serialised, or bytes could not be read back.

    ``record`` is the record whose bytes could not be read, where one was being consumed.
    """

    record: Any = None


class BackendError(StreamproofError):
    """The backend refused or failed."""


class Unreachable(BackendError):
    """There is no connection to the backend, or it was lost."""

    retriable = True


class AccessDenied(BackendError):
    """The backend did not accept the credentials, or they do not allow this."""


class UnknownTopic(BackendError):
    """No such topic, or no such partition of it."""


class TopicExists(BackendError):
    """A topic of that name is there already, with other settings."""


class RecordTooLarge(BackendError):
    """The record is larger than the client or the broker accepts. Nothing was stored."""


class OffsetOutOfRange(BackendError):
    """The offset lies below the start of the log (trimmed) or beyond its end.

    ``log_start`` is the first offset that is still there, where the backend tells it.
    """

    def __init__(self, message: str, *, log_start: int | None = None) -> None:
        super().__init__(message)
        self.log_start = log_start


class Fenced(BackendError):
    """A newer producer or member has taken over; this one must stop."""


class TransactionAborted(BackendError):
    """The transaction did not commit: no read-committed reader sees anything of it, and the
    progress in it was not stored. It can be done again from its beginning."""

    retriable = True


class NotAssigned(BackendError):
    """The log is not (any more) assigned to this consumer: the ack or commit has no effect."""


class BufferFull(StreamproofError):
    """The local send buffer stayed full until the timeout. The record was not taken."""

    retriable = True


class TimedOut(StreamproofError):
    """The bound of a call passed before its answer came."""

    retriable = True


class DeliveryUnknown(StreamproofError):
    """The record left, and whether it was stored is not known."""

    retriable = True
    definite = False


class TransactionUnknown(StreamproofError):
    """The answer to a commit never came: the transaction is committed as a whole or not at all, and
    nobody can say which. The stored progress tells, where the transaction stored any."""

    definite = False
