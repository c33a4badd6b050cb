"""What people build on a producer and a consumer: handlers with retries and dead letters, effects that
are applied once, outboxes."""

from streamproof._async.confirmed_sender import AsyncConfirmedSender
from streamproof._async.deduplication import AsyncDeduplicationStore, AsyncEffectOnce
from streamproof._async.deduplication import effect_once as aeffect_once
from streamproof._async.memory_store import AsyncMemoryStore
from streamproof._async.postgresql_outbox import AsyncPostgresqlOutbox
from streamproof._async.postgresql_store import AsyncPostgresqlStore
from streamproof._async.redis_store import AsyncRedisStore
from streamproof._async.relay import AsyncRelay
from streamproof._async.sqlite_outbox import AsyncSqliteOutbox
from streamproof._async.sqlite_store import AsyncSqliteStore
from streamproof._async.worker import AsyncWorker
from streamproof._sync.confirmed_sender import ConfirmedSender
from streamproof._sync.deduplication import DeduplicationStore, EffectOnce, effect_once
from streamproof._sync.memory_store import MemoryStore
from streamproof._sync.postgresql_outbox import PostgresqlOutbox
from streamproof._sync.postgresql_store import PostgresqlStore
from streamproof._sync.redis_store import RedisStore
from streamproof._sync.relay import Relay
from streamproof._sync.sqlite_outbox import SqliteOutbox
from streamproof._sync.sqlite_store import SqliteStore
from streamproof._sync.worker import Worker
from streamproof.delivery.dead_letters import DeadLetterHeaders
from streamproof.delivery.identity import RECORD_ID, identity_by, new_record_id, record_identity
from streamproof.delivery.retry import Retry, exponential, fixed, linear
from streamproof.delivery.stores.marks import Lease
from streamproof.delivery.work import WorkObserver

__all__ = [
    "RECORD_ID",
    "AsyncConfirmedSender",
    "AsyncDeduplicationStore",
    "AsyncEffectOnce",
    "AsyncMemoryStore",
    "AsyncPostgresqlOutbox",
    "AsyncPostgresqlStore",
    "AsyncRedisStore",
    "AsyncRelay",
    "AsyncSqliteOutbox",
    "AsyncSqliteStore",
    "AsyncWorker",
    "ConfirmedSender",
    "DeadLetterHeaders",
    "DeduplicationStore",
    "EffectOnce",
    "Lease",
    "MemoryStore",
    "PostgresqlOutbox",
    "PostgresqlStore",
    "RedisStore",
    "Relay",
    "Retry",
    "SqliteOutbox",
    "SqliteStore",
    "WorkObserver",
    "Worker",
    "aeffect_once",
    "effect_once",
    "exponential",
    "fixed",
    "identity_by",
    "linear",
    "new_record_id",
    "record_identity",
]
