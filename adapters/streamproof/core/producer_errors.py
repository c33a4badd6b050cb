"""Why an idempotent or transactional request is refused: one class for each meaning Kafka has.

Each names Kafka's error, so that whoever serves the wire can answer with its code.
"""

from streamproof.errors import BackendError, ConfigurationError, Fenced, TransactionAborted


class InvalidProducerEpoch(Fenced):
    """A log has seen a newer epoch of this producer (``INVALID_PRODUCER_EPOCH``)."""


class ProducerFenced(Fenced):
    """The coordinator has given a newer epoch out for this transactional id (``PRODUCER_FENCED``)."""


class UnknownProducerId(Fenced):
    """The transactional id belongs to another producer id, or to none (``INVALID_PRODUCER_ID_MAPPING``)."""


class OutOfOrderSequence(BackendError):
    """The batch is not the next one of its producer in this log (``OUT_OF_ORDER_SEQUENCE_NUMBER``)."""


class InvalidTransactionState(BackendError):
    """Not possible in the state the transaction is in (``INVALID_TXN_STATE``)."""


class NotInTransaction(TransactionAborted):
    """The log or group is not part of the producer's transaction, which has to be aborted
    (``TRANSACTION_ABORTABLE``; ``INVALID_TXN_STATE`` for clients that do not know it)."""


class TransactionTimedOut(TransactionAborted):
    """The producer's transaction was open for too long and was aborted; in version 2 of the protocol the
    producer goes on after an abort of its own (``PRODUCER_FENCED``, or ``INVALID_PRODUCER_EPOCH`` for
    records, as if it were for good)."""


class InvalidTransactionTimeout(ConfigurationError):
    """The transaction timeout is above the limit, or not above zero (``INVALID_TRANSACTION_TIMEOUT``)."""


class UnknownTransactionalId(BackendError):
    """The coordinator does not know this transactional id (``TRANSACTIONAL_ID_NOT_FOUND``)."""
