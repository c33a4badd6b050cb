"""What the Redis stores of both colours share: the scripts, the client library, its errors.

Each script is one atomic step of the table in :mod:`streamproof.delivery.stores.marks`, on the
server's clock; called twice with one token it answers the same, so a client may repeat it.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from streamproof.errors import (
    AccessDenied,
    BackendError,
    ConfigurationError,
    MissingExtra,
    StreamproofError,
    Unreachable,
)

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    Redis: TypeAlias = redis.Redis
    AsyncRedis: TypeAlias = redis.asyncio.Redis

CLAIMED, DONE, HELD = 0, 1, 2

# A mark is "done:<token>", "free" (in doubt, nobody's), or "held:<deadline ms>:<in doubt>:<token>".
CLAIM = """
local token, lease_ms, retention_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local doubt = 0
local mark = redis.call('GET', KEYS[1])
if mark then
  if string.sub(mark, 1, 5) == 'done:' then return {1, 0} end
  local deadline, flag, holder = string.match(mark, '^held:(%d+):(%d):(.*)$')
  if holder == token then
    doubt = tonumber(flag)
  elseif holder and tonumber(deadline) > now then
    return {2, tonumber(deadline) - now}
  else
    doubt = 1
  end
end
local held = string.format('held:%.0f:%d:%s', now + lease_ms, doubt, token)
redis.call('SET', KEYS[1], held, 'PX', lease_ms + retention_ms)
return {0, doubt}
"""

FINISH = """
local token, retention_ms = ARGV[1], ARGV[2]
local mark = redis.call('GET', KEYS[1])
if mark then
  local holder = string.match(mark, '^held:%d+:%d:(.*)$') or string.match(mark, '^done:(.*)$')
  if holder ~= token then return 0 end
end
redis.call('SET', KEYS[1], 'done:' .. token, 'PX', retention_ms)
return 1
"""

RELEASE = """
local mark = redis.call('GET', KEYS[1])
if not mark then return 0 end
local flag, holder = string.match(mark, '^held:%d+:(%d):(.*)$')
if holder ~= ARGV[1] then return 0 end
if flag == '1' then
  redis.call('SET', KEYS[1], 'free', 'KEEPTTL')
else
  redis.call('DEL', KEYS[1])
end
return 1
"""


class RedisClients:
    """Makes blocking clients."""

    @staticmethod
    def open(url: str, timeout_s: float) -> "Redis":
        """A client of this URL; it connects when first used."""
        library = import_redis()
        _require_url(url)
        return library.Redis.from_url(url, **_settings(library, timeout_s))  # type: ignore[no-any-return]


class AsyncRedisClients:
    """Makes clients for coroutines."""

    @staticmethod
    def open(url: str, timeout_s: float) -> "AsyncRedis":
        """A client of this URL; it connects when first used."""
        library = import_redis()
        _require_url(url)
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry

        settings = _settings(library, timeout_s) | {"retry": Retry(library.backoff.NoBackoff(), 1)}
        return Redis.from_url(url, **settings)


def import_redis() -> Any:
    """The client library; :class:`MissingExtra` says what to install."""
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as cause:
        raise MissingExtra(
            "a Redis store needs redis, which is not installed: pip install 'streamproof[redis]'"
        ) from cause
    return redis


def translated(error: Exception, doing: str) -> StreamproofError:
    """The error of this package for one of the client library's, or the error itself if it is one."""
    if isinstance(error, StreamproofError):
        return error
    library = import_redis()
    errors = library.exceptions
    if isinstance(error, errors.AuthenticationError | errors.NoPermissionError | errors.AuthorizationError):
        return AccessDenied(
            f"Redis did not allow {doing}: {error}; check the user, its password and its rules"
        )
    unavailable = (errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError, OSError)
    if isinstance(error, unavailable):
        return Unreachable(f"Redis did not answer while {doing}: {error}; try again when it is back")
    return BackendError(f"Redis failed while {doing}: {error}", retriable=_is_passing(error, errors))


def is_library_error(error: BaseException) -> bool:
    """Whether the client library (or the socket below it) raised this."""
    return isinstance(error, (import_redis().exceptions.RedisError, OSError))


def _is_passing(error: Exception, errors: Any) -> bool:
    """Whether it may be over by itself: no memory, or a script that blocks the server."""
    return isinstance(error, errors.OutOfMemoryError) or str(error).startswith(("BUSY", "OOM", "MASTERDOWN"))


def _settings(library: Any, timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # Once more at once, for a connection that was closed while it lay idle: scripts can be repeated.
        "retry": library.retry.Retry(library.backoff.NoBackoff(), 1),
    }


def _require_url(url: object) -> None:
    if not isinstance(url, str) or not url.startswith(("redis://", "rediss://", "unix://")):
        # Not shown: it may hold a password.
        raise ConfigurationError(
            "a Redis store takes redis://host:port/0, rediss://… or unix://…, or a client"
        )
