"""One Producer/Consumer interface over an in-memory log, Apache Kafka and RabbitMQ.

``connect(url)`` for threads, ``await aconnect(url)`` for coroutines; only the URL changes between
backends.
"""

from streamproof._async.admin import AsyncAdmin
from streamproof._async.bus import AsyncBus, aconnect
from streamproof._async.consumer import AsyncConsumer
from streamproof._async.producer import AsyncProducer
from streamproof._async.transaction import AsyncTransaction
from streamproof._async.transform import AsyncTransform, atransform
from streamproof._sync.admin import Admin
from streamproof._sync.bus import Bus, connect
from streamproof._sync.consumer import Consumer
from streamproof._sync.producer import Producer
from streamproof._sync.transaction import Transaction
from streamproof._sync.transform import Transform, transform
from streamproof.capabilities import Capabilities
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery, Deliveries, Delivery, Outcome
from streamproof.errors import (
    AccessDenied,
    BackendError,
    BufferFull,
    Closed,
    ConfigurationError,
    DeliveryUnknown,
    Fenced,
    MissingExtra,
    NotAssigned,
    OffsetOutOfRange,
    RecordTooLarge,
    SerializationError,
    StreamproofError,
    TimedOut,
    TopicExists,
    TransactionAborted,
    TransactionUnknown,
    UnknownTopic,
    Unreachable,
    Unsupported,
    UsageError,
)
from streamproof.observer import ConsumerObserver, ProducerObserver
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import (
    AtTime,
    GroupDescription,
    MemberDescription,
    Outgoing,
    Receipt,
    Record,
    TopicDescription,
    TopicPartition,
    TopicSpec,
)

__all__ = [
    "AccessDenied",
    "Admin",
    "AsyncAdmin",
    "AsyncBus",
    "AsyncConsumer",
    "AsyncDeliveries",
    "AsyncDelivery",
    "AsyncProducer",
    "AsyncTransaction",
    "AsyncTransform",
    "AtTime",
    "BackendError",
    "BufferFull",
    "Bus",
    "Capabilities",
    "Closed",
    "ConfigurationError",
    "Consumer",
    "ConsumerObserver",
    "ConsumerOptions",
    "Deliveries",
    "Delivery",
    "DeliveryUnknown",
    "Fenced",
    "GroupDescription",
    "MemberDescription",
    "MissingExtra",
    "NotAssigned",
    "OffsetOutOfRange",
    "Outcome",
    "Outgoing",
    "Producer",
    "ProducerObserver",
    "ProducerOptions",
    "Receipt",
    "Record",
    "RecordTooLarge",
    "SerializationError",
    "StreamproofError",
    "TimedOut",
    "TopicDescription",
    "TopicExists",
    "TopicPartition",
    "TopicSpec",
    "Transaction",
    "TransactionAborted",
    "TransactionUnknown",
    "Transform",
    "UnknownTopic",
    "Unreachable",
    "Unsupported",
    "UsageError",
    "aconnect",
    "atransform",
    "connect",
    "transform",
]
