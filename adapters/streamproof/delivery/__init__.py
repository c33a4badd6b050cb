"""What people build on a producer and a consumer: handlers with retries and dead letters, effects that
are applied once, outboxes."""

from streamproof._async.deduplication import AsyncDeduplicationStore, AsyncEffectOnce
from streamproof._async.deduplication import effect_once as aeffect_once
from streamproof._async.memory_store import AsyncMemoryStore
from streamproof._async.postgresql_store import AsyncPostgresqlStore
from streamproof._async.redis_store import AsyncRedisStore
from streamproof._async.sqlite_store import AsyncSqliteStore
from streamproof._async.worker import AsyncWorker
from streamproof._sync.deduplication import DeduplicationStore, EffectOnce, effect_once
from streamproof._sync.memory_store import MemoryStore
from streamproof._sync.postgresql_store import PostgresqlStore
from streamproof._sync.redis_store import RedisStore
from streamproof._sync.sqlite_store import SqliteStore
from streamproof._sync.worker import Worker
from streamproof.delivery.dead_letters import DeadLetterHeaders
from streamproof.delivery.identity import RECORD_ID, identity_by, new_record_id, record_identity
from streamproof.delivery.retry import Retry, exponential, fixed, linear
from streamproof.delivery.stores.marks import Lease
from streamproof.delivery.work import WorkObserver

__all__ = [
    "RECORD_ID",
    "AsyncDeduplicationStore",
    "AsyncEffectOnce",
    "AsyncMemoryStore",
    "AsyncPostgresqlStore",
    "AsyncRedisStore",
    "AsyncSqliteStore",
    "AsyncWorker",
    "DeadLetterHeaders",
    "DeduplicationStore",
    "EffectOnce",
    "Lease",
    "MemoryStore",
    "PostgresqlStore",
    "RedisStore",
    "Retry",
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
