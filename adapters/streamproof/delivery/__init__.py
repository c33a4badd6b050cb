"""What people build on a producer and a consumer: handlers with retries and dead letters."""

from streamproof._async.worker import AsyncWorker
from streamproof._sync.worker import Worker
from streamproof.delivery.dead_letters import DeadLetterHeaders
from streamproof.delivery.retry import Retry, exponential, fixed, linear
from streamproof.delivery.work import WorkObserver

__all__ = [
    "AsyncWorker",
    "DeadLetterHeaders",
    "Retry",
    "WorkObserver",
    "Worker",
    "exponential",
    "fixed",
    "linear",
]
