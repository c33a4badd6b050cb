"""What Kafka's error codes mean here: one table, for every client library.

Positive codes are the protocol's (kafka.apache.org/protocol, *Error Codes*), negative ones are
librdkafka's own (``rdkafka.h``, ``RD_KAFKA_RESP_ERR__*``). Client libraries that raise classes
map them to a code first.

For a send, the last column decides. No client tells whether an earlier attempt of the same record
was applied (Confluent's Python client does not expose librdkafka's persistence status), so only
these are certain: refusals before anything was sent, and answers of a broker that validates
before it appends and would have said the same to any earlier attempt. Whoever lost a connection
or a permission in between cannot be certain any more.
"""

from dataclasses import dataclass
from enum import Enum

from streamproof.errors import (
    AccessDenied,
    BackendError,
    ConfigurationError,
    DeliveryUnknown,
    Fenced,
    NotAssigned,
    OffsetOutOfRange,
    RecordTooLarge,
    StreamproofError,
    TimedOut,
    TopicExists,
    TransactionAborted,
    UnknownTopic,
    Unreachable,
    Unsupported,
)


class Stored(Enum):
    """Whether a record whose send ended with a code can stand in the log."""

    NEVER = "never"
    """Refused before the append, whenever it was tried."""
    NOT_AT_FIRST = "not at first"
    """Refused before the append this time; an earlier attempt, if there can have been one, counts."""
    MAYBE = "maybe"
    """Nobody knows."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: Kafka's name of the code, our class, what to do, and what it says about a send."""

    name: str
    error: type[StreamproofError]
    remedy: str
    stored: Stored = Stored.MAYBE


_AGAIN = "try again later"
_CREDENTIALS = "check the credentials and the permissions (ACLs) of this user"
_SETTINGS = "correct the setting"
_TAKEN_OVER = "another producer or member took this one's place: stop this one"
_REASSIGNED = "the group gave the logs to other members: drop what is in flight and poll on"
_NO_TOPIC = "create it first, or check the name and the partition"
_ANEW = "do the transaction again"
_ALIVE = "check the address and whether the broker runs"

MEANINGS: dict[int, Meaning] = {
    -1: Meaning("UNKNOWN", BackendError, "look into the broker's log"),
    1: Meaning("OFFSET_OUT_OF_RANGE", OffsetOutOfRange, "seek to an offset that is there"),
    2: Meaning("INVALID_MSG", BackendError, "look for what changes bytes on the way"),
    3: Meaning("UNKNOWN_TOPIC_OR_PART", UnknownTopic, _NO_TOPIC, Stored.NOT_AT_FIRST),
    5: Meaning("LEADER_NOT_AVAILABLE", Unreachable, _AGAIN),
    6: Meaning("NOT_LEADER_FOR_PARTITION", Unreachable, _AGAIN),
    7: Meaning("REQUEST_TIMED_OUT", TimedOut, _AGAIN),
    8: Meaning("BROKER_NOT_AVAILABLE", Unreachable, _ALIVE),
    9: Meaning("REPLICA_NOT_AVAILABLE", Unreachable, _AGAIN),
    10: Meaning(
        "MSG_SIZE_TOO_LARGE",
        RecordTooLarge,
        "send less, or raise max.message.bytes of the topic",
        Stored.NEVER,
    ),
    13: Meaning("NETWORK_EXCEPTION", Unreachable, _AGAIN),
    14: Meaning("COORDINATOR_LOAD_IN_PROGRESS", Unreachable, _AGAIN),
    15: Meaning("COORDINATOR_NOT_AVAILABLE", Unreachable, _AGAIN),
    16: Meaning("NOT_COORDINATOR", Unreachable, _AGAIN),
    17: Meaning(
        "TOPIC_EXCEPTION", UnknownTopic, "use a valid topic name; internal topics are closed", Stored.NEVER
    ),
    18: Meaning(
        "RECORD_LIST_TOO_LARGE",
        RecordTooLarge,
        "send less, or raise segment.bytes of the topic",
        Stored.NEVER,
    ),
    19: Meaning("NOT_ENOUGH_REPLICAS", Unreachable, "wait until enough replicas are in sync"),
    20: Meaning("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Unreachable, "wait until enough replicas are in sync"),
    21: Meaning("INVALID_REQUIRED_ACKS", ConfigurationError, _SETTINGS, Stored.NEVER),
    22: Meaning("ILLEGAL_GENERATION", NotAssigned, _REASSIGNED),
    23: Meaning(
        "INCONSISTENT_GROUP_PROTOCOL",
        ConfigurationError,
        "give all members of the group the same protocol and assignment strategy",
    ),
    24: Meaning("INVALID_GROUP_ID", ConfigurationError, "choose another group name"),
    25: Meaning("UNKNOWN_MEMBER_ID", NotAssigned, _REASSIGNED),
    26: Meaning(
        "INVALID_SESSION_TIMEOUT",
        ConfigurationError,
        "choose session_timeout_s between the broker's group.min and group.max.session.timeout.ms",
    ),
    27: Meaning("REBALANCE_IN_PROGRESS", NotAssigned, "poll, so that the rebalance can end"),
    29: Meaning("TOPIC_AUTHORIZATION_FAILED", AccessDenied, _CREDENTIALS, Stored.NOT_AT_FIRST),
    30: Meaning("GROUP_AUTHORIZATION_FAILED", AccessDenied, _CREDENTIALS),
    31: Meaning("CLUSTER_AUTHORIZATION_FAILED", AccessDenied, _CREDENTIALS, Stored.NOT_AT_FIRST),
    32: Meaning("INVALID_TIMESTAMP", BackendError, "send a time the topic accepts", Stored.NEVER),
    33: Meaning("UNSUPPORTED_SASL_MECHANISM", AccessDenied, "choose a mechanism the broker has"),
    34: Meaning("ILLEGAL_SASL_STATE", AccessDenied, _CREDENTIALS),
    35: Meaning("UNSUPPORTED_VERSION", Unsupported, "use a broker that has this API"),
    36: Meaning("TOPIC_ALREADY_EXISTS", TopicExists, "use it, or delete it first"),
    37: Meaning("INVALID_PARTITIONS", ConfigurationError, _SETTINGS),
    38: Meaning("INVALID_REPLICATION_FACTOR", ConfigurationError, "ask for no more copies than brokers"),
    39: Meaning("INVALID_REPLICA_ASSIGNMENT", ConfigurationError, _SETTINGS),
    40: Meaning("INVALID_CONFIG", ConfigurationError, _SETTINGS),
    41: Meaning("NOT_CONTROLLER", Unreachable, _AGAIN),
    42: Meaning("INVALID_REQUEST", BackendError, "look into the broker's log"),
    43: Meaning("UNSUPPORTED_FOR_MESSAGE_FORMAT", Unsupported, "use a topic with a newer format"),
    44: Meaning("POLICY_VIOLATION", ConfigurationError, "ask for what the broker's policy allows"),
    45: Meaning("OUT_OF_ORDER_SEQUENCE_NUMBER", BackendError, "read back what was stored"),
    46: Meaning("DUPLICATE_SEQUENCE_NUMBER", BackendError, "read back what was stored"),
    47: Meaning("INVALID_PRODUCER_EPOCH", Fenced, _TAKEN_OVER),
    48: Meaning("INVALID_TXN_STATE", TransactionAborted, _ANEW),
    49: Meaning("INVALID_PRODUCER_ID_MAPPING", Fenced, _TAKEN_OVER),
    50: Meaning(
        "INVALID_TRANSACTION_TIMEOUT",
        ConfigurationError,
        "choose transaction_timeout_s no longer than the broker's transaction.max.timeout.ms",
    ),
    51: Meaning("CONCURRENT_TRANSACTIONS", TimedOut, _AGAIN),
    53: Meaning("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", AccessDenied, _CREDENTIALS),
    52: Meaning("TRANSACTION_COORDINATOR_FENCED", Unreachable, _AGAIN),
    54: Meaning("SECURITY_DISABLED", ConfigurationError, _SETTINGS),
    55: Meaning("OPERATION_NOT_ATTEMPTED", BackendError, "see what was said of the other logs"),
    56: Meaning("KAFKA_STORAGE_ERROR", BackendError, "look into the broker's log"),
    58: Meaning("SASL_AUTHENTICATION_FAILED", AccessDenied, _CREDENTIALS),
    59: Meaning("UNKNOWN_PRODUCER_ID", BackendError, "read back what was stored"),
    68: Meaning("NON_EMPTY_GROUP", BackendError, "close the members of the group first"),
    69: Meaning("GROUP_ID_NOT_FOUND", BackendError, "check the name of the group"),
    73: Meaning("TOPIC_DELETION_DISABLED", Unsupported, "allow it on the broker: delete.topic.enable"),
    74: Meaning("FENCED_LEADER_EPOCH", Unreachable, _AGAIN),
    75: Meaning("UNKNOWN_LEADER_EPOCH", Unreachable, _AGAIN),
    76: Meaning("UNSUPPORTED_COMPRESSION_TYPE", Unsupported, "choose another compression", Stored.NEVER),
    78: Meaning("OFFSET_NOT_AVAILABLE", Unreachable, _AGAIN),
    81: Meaning("GROUP_MAX_SIZE_REACHED", BackendError, "close members, or raise group.max.size"),
    82: Meaning("FENCED_INSTANCE_ID", Fenced, _TAKEN_OVER),
    87: Meaning("INVALID_RECORD", BackendError, "send what the topic accepts (a key, a time)", Stored.NEVER),
    88: Meaning("UNSTABLE_OFFSET_COMMIT", TimedOut, "wait until the transaction that stores them ends"),
    89: Meaning("THROTTLING_QUOTA_EXCEEDED", Unreachable, _AGAIN),
    90: Meaning("PRODUCER_FENCED", Fenced, _TAKEN_OVER),
    100: Meaning("UNKNOWN_TOPIC_ID", UnknownTopic, _NO_TOPIC),
    110: Meaning("FENCED_MEMBER_EPOCH", NotAssigned, _REASSIGNED),
    111: Meaning("UNRELEASED_INSTANCE_ID", BackendError, "close the member that has this instance id"),
    112: Meaning("UNSUPPORTED_ASSIGNOR", ConfigurationError, _SETTINGS),
    113: Meaning("STALE_MEMBER_EPOCH", NotAssigned, _REASSIGNED),
    120: Meaning("TRANSACTION_ABORTABLE", TransactionAborted, _ANEW),
    -197: Meaning("_DESTROY", Unreachable, "the client was closed meanwhile"),
    -195: Meaning("_TRANSPORT", Unreachable, _ALIVE),
    -193: Meaning("_RESOLVE", Unreachable, "check the host name"),
    -192: Meaning("_MSG_TIMED_OUT", TimedOut, _AGAIN),
    -190: Meaning("_UNKNOWN_PARTITION", UnknownTopic, _NO_TOPIC, Stored.NOT_AT_FIRST),
    -188: Meaning("_UNKNOWN_TOPIC", UnknownTopic, _NO_TOPIC, Stored.NOT_AT_FIRST),
    -187: Meaning("_ALL_BROKERS_DOWN", Unreachable, _ALIVE),
    -186: Meaning("_INVALID_ARG", ConfigurationError, _SETTINGS, Stored.NEVER),
    -185: Meaning("_TIMED_OUT", TimedOut, _AGAIN),
    -181: Meaning("_SSL", Unreachable, "check the certificates and security.protocol"),
    -180: Meaning("_WAIT_COORD", Unreachable, _AGAIN),
    -177: Meaning("_PREV_IN_PROGRESS", TimedOut, _AGAIN),
    -173: Meaning("_CONFLICT", TimedOut, _AGAIN),
    -172: Meaning("_STATE", BackendError, _AGAIN),
    -170: Meaning("_NOT_IMPLEMENTED", Unsupported, "use another setting"),
    -169: Meaning("_AUTHENTICATION", AccessDenied, _CREDENTIALS),
    -166: Meaning("_TIMED_OUT_QUEUE", TimedOut, _AGAIN),
    -165: Meaning("_UNSUPPORTED_FEATURE", Unsupported, "use a broker that has this feature"),
    -156: Meaning("_NOENT", Unreachable, _AGAIN),
    -152: Meaning("_PURGE_QUEUE", BackendError, "close the producer later, or with more time"),
    -151: Meaning("_PURGE_INFLIGHT", BackendError, "close the producer later, or with more time"),
    -150: Meaning("_FATAL", BackendError, "close this client and make a new one"),
    -149: Meaning("_INCONSISTENT", TransactionAborted, _ANEW),
    -147: Meaning("_MAX_POLL_EXCEEDED", NotAssigned, "poll more often, or raise max_poll_interval_s"),
    -144: Meaning("_FENCED", Fenced, _TAKEN_OVER),
    -142: Meaning("_ASSIGNMENT_LOST", NotAssigned, _REASSIGNED),
    -140: Meaning("_AUTO_OFFSET_RESET", OffsetOutOfRange, "seek to an offset that is there"),
    -139: Meaning("_LOG_TRUNCATION", BackendError, "seek: the log was cut off after this offset"),
}
"""Codes that are not here are a :class:`BackendError`, and unknown for a send."""

MOVING = frozenset({5, 6, 9, 74, 75, 78, -156})
"""What brokers answer while a log is made or its leader moves, for a moment."""

_UNLISTED = Meaning("", BackendError, "see the cause")


def meaning_of(code: int) -> Meaning:
    """The row of a code."""
    return MEANINGS.get(code, _UNLISTED)


def call_error(
    code: int, what: str, reason: str, cause: BaseException | None = None, *, definite: bool = True
) -> StreamproofError:
    """The error of a call other than a send: ``what`` failed because of ``reason``.

    ``definite=False`` is for calls that change something, where a lost answer leaves that open.
    """
    meaning = meaning_of(code)
    error = meaning.error(f"{what}: {reason}; {meaning.remedy}")
    if not definite and meaning.error in (TimedOut, Unreachable, BackendError):
        error.definite = False
    error.__cause__ = cause
    return error


def send_error(
    code: int, place: str, reason: str, cause: BaseException | None = None, *, was_first: bool = True
) -> StreamproofError:
    """The outcome of a send that ended with this code; ``place`` is the topic or log.

    ``was_first`` says that no earlier attempt of this record can have reached a broker.
    """
    meaning = meaning_of(code)
    is_certain = meaning.stored is Stored.NEVER or (meaning.stored is Stored.NOT_AT_FIRST and was_first)
    error: StreamproofError
    if is_certain:
        error = meaning.error(f"not stored in {place}: {reason}; {meaning.remedy}")
    elif meaning.error is Fenced:
        error = Fenced(f"perhaps not stored in {place}: {reason}; {meaning.remedy}", definite=False)
    else:
        error = DeliveryUnknown(
            f"not known whether it is stored in {place}: {reason}; "
            "read the topic back, or send it again where a double does no harm"
        )
    error.__cause__ = cause
    return error
