"""The client library as the driver uses it: the only module that imports confluent-kafka.

The other parts take the library's names from here.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    OFFSET_STORED,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka import ConsumerGroupState as GroupState
from confluent_kafka import TopicPartition as NativePartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from streamproof.capabilities import Capabilities
from streamproof.drivers.kafka.errors import call_error
from streamproof.errors import AccessDenied, ConfigurationError, StreamproofError, Unreachable
from streamproof.url import Address

__all__ = [
    "CAPABILITIES",
    "OFFSET_INVALID",
    "OFFSET_STORED",
    "AdminClient",
    "ConfigResource",
    "Consumer",
    "GroupState",
    "IsolationLevel",
    "KafkaError",
    "KafkaException",
    "Message",
    "NativePartition",
    "NewTopic",
    "OffsetSpec",
    "Producer",
    "QuietProducer",
    "Trouble",
    "await_brokers",
    "fatal_code",
    "let_go",
    "made",
    "native_error",
    "translated",
]

_library_log = logging.getLogger("streamproof.kafka")
# Without a handler of the application's, Python would print the library's lines to standard error.
_library_log.addHandler(logging.NullHandler())

_BETWEEN_ATTEMPTS_S = 0.05

CAPABILITIES = Capabilities(
    acknowledgement="offset",
    has_send_offsets=True,
    has_group_offsets=True,
    has_generations=True,
    can_seek=True,
    can_seek_time=True,
    can_replay=True,
    can_match_pattern=True,
    can_retain=True,
    can_compact=True,
    can_transact=True,
    has_idempotence=True,
)


_TOLD = frozenset({"FAIL", "ERROR", "FATAL", "TXNERR", "ADDPARTS", "ADDOFFSETS", "GETPID"})


class _LibraryLog:
    """Where the library logs. It tells of each failed attempt to connect, dozens a second while a
    broker is away, and of each transaction that fails; those are errors of the calls that they make
    fail, and details in the log."""

    def log(self, level: int, text: str, facility: str, client: str, line: str) -> None:
        """As the library calls it."""
        is_told = facility in _TOLD
        _library_log.log(logging.DEBUG if is_told else level, text, facility, client, line)


class Trouble:
    """What a client says beside its answers, through its ``error_cb``: kept for error messages, and
    to know whether an attempt can have been cut off."""

    def __init__(self) -> None:
        self.last: KafkaError | None = None
        self._at_s = float("-inf")

    def __call__(self, error: KafkaError) -> None:
        """The callback."""
        self.last = error
        self._at_s = time.monotonic()
        _library_log.debug("%s: %s", error.name(), error.str())

    @property
    def is_final(self) -> bool:
        """Whether trying again changes nothing: the credentials were refused."""
        return self.last is not None and self.last.code() == KafkaError._AUTHENTICATION

    def is_within(self, seconds: float) -> bool:
        """Whether there was any in the last ``seconds``."""
        return time.monotonic() - self._at_s < seconds


def made(client: Callable[[dict[str, Any]], Any], settings: Mapping[str, object], trouble: Trouble) -> Any:
    """A client of the library; :class:`ConfigurationError` for a setting that it does not take."""
    try:
        return client({**settings, "error_cb": trouble, "logger": _LibraryLog()})
    except KafkaException as cause:
        raise ConfigurationError(f"Kafka's client refuses a setting: {native_error(cause).str()}") from cause
    except (TypeError, ValueError) as cause:
        raise ConfigurationError(f"Kafka's client refuses a setting: {cause}") from cause


class QuietProducer(Producer):
    """The library's producer. When it has met a fatal error (it is fenced, or its sequence numbers are
    lost), it raises that once from whichever call serves its reports next, wherever that is. Here each
    call that it concerns says so by itself, and each report does."""

    fatal: KafkaError | None = None
    """That error."""

    def poll(self, timeout: float = -1) -> int:
        """Serve reports."""
        try:
            return super().poll(timeout)
        except KafkaException as raised:
            self.fatal = native_error(raised)
            return 1

    def flush(self, timeout: float = -1) -> int:
        """Serve reports until there are none to come."""
        try:
            return super().flush(timeout)
        except KafkaException as raised:
            self.fatal = native_error(raised)
            return len(self)


def let_go(clients: list[Any], timeout_s: float, what: str) -> None:
    """Close the one client in the list, which is emptied: on a thread of its own, since the library's
    closes take no time-out. A client without a close ends when its last reference goes: there."""

    def end() -> None:
        client = clients.pop()
        if hasattr(client, "close"):
            client.close()

    thread = threading.Thread(target=end, name="streamproof-kafka-close", daemon=True)
    thread.start()
    thread.join(max(0.0, timeout_s))
    if thread.is_alive():
        _library_log.warning("the %s is still closing after its time was up; it goes on alone", what)


def native_error(exception: BaseException) -> KafkaError:
    """The library's error inside its exception."""
    found = exception.args[0] if exception.args else None
    return found if isinstance(found, KafkaError) else KafkaError(KafkaError._FAIL, str(exception))


def fatal_code(error: KafkaError) -> int:
    """The code of an error; of a fatal one, that of its reason, which is in its text only."""
    if error.code() == KafkaError._FATAL:
        for code in (
            KafkaError._FENCED,
            KafkaError.FENCED_INSTANCE_ID,
            KafkaError.PRODUCER_FENCED,
            KafkaError.INVALID_PRODUCER_EPOCH,
        ):
            if KafkaError(code).str() in error.str():
                return code
    return error.code()


def translated(
    exception: BaseException, what: str, trouble: Trouble | None = None, *, definite: bool = True
) -> StreamproofError:
    """Our error for the library's exception in a call that is no send."""
    error = native_error(exception)
    reason = error.str()
    if trouble is not None and trouble.last is not None and trouble.is_within(60.0):
        if trouble.last.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            error = trouble.last
        reason = f"{reason} ({trouble.last.str()})"
    return call_error(error.code(), what, reason, exception, definite=definite)


def await_brokers(client: Any, trouble: Trouble, address: Address, timeout_s: float) -> None:
    """Ask for metadata until the bound passes; polling in between serves the library's reasons."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            # Of one topic: asking for all would cost too much on large clusters.
            client.list_topics("__consumer_offsets", timeout=max(0.01, min(left, 1.0)))
            return
        except KafkaException as cause:
            client.poll(0)
            if time.monotonic() < deadline and not trouble.is_final:
                time.sleep(_BETWEEN_ATTEMPTS_S)
                continue
            error = translated(cause, f"no answer from {address.redacted} within {timeout_s} s", trouble)
            if isinstance(error, AccessDenied | Unreachable):
                raise error from cause
            raise Unreachable(str(error)) from cause
