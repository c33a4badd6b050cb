"""The settings of producers and consumers: safe defaults, one meaning on every backend."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from streamproof.errors import ConfigurationError
from streamproof.records import AtTime

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
Acks = Literal["all", "leader", "none"]
Order = Literal["partition", "key"]
Isolation = Literal["read_committed", "read_uncommitted"]
Start = Literal["earliest", "latest"] | AtTime


def _require(is_met: bool, name: str, value: object, wanted: str) -> None:
    if not is_met:
        raise ConfigurationError(f"{name}={value!r} is not possible: give {wanted}")


def _require_one_of(choices: Any, name: str, value: object) -> None:
    words = get_args(choices)
    _require(value in words, name, value, " or ".join(map(repr, words)))


def _require_seconds(name: str, value: object) -> None:
    _require(_is_number(value) and value > 0, name, value, "more than 0 seconds")  # type: ignore[operator]


def _require_records(name: str, value: object) -> None:
    _require(type(value) is int and value > 0, name, value, "1 record or more")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """How a producer sends.

    ``delivery_timeout_s`` bounds the time from ``send`` to the outcome of its delivery.
    ``buffer_records`` bounds what is sent and not yet acknowledged; a full buffer makes ``send``
    wait. ``linger_ms`` is how long a record may wait for others to share its request.
    ``transactional_id`` names a producer with transactions: it must be this instance's own, and stay
    the same when the instance is started again, for that fences what is left of the former one.
    ``transaction_timeout_s`` is how long a transaction may stay open before the broker aborts it.
    """

    acks: Acks = "all"
    is_idempotent: bool = True
    linger_ms: float = 5.0
    buffer_records: int = 100_000
    delivery_timeout_s: float = 120.0
    compression: Compression = "none"
    transactional_id: str | None = None
    transaction_timeout_s: float = 60.0
    native: dict[str, object] = field(default_factory=dict, repr=False)
    """Settings for the client library itself, under its own names."""

    def __post_init__(self) -> None:
        _require_one_of(Acks, "acks", self.acks)
        _require_one_of(Compression, "compression", self.compression)
        _require(
            _is_number(self.linger_ms) and self.linger_ms >= 0,
            "linger_ms",
            self.linger_ms,
            "0 or more milliseconds",
        )
        _require_records("buffer_records", self.buffer_records)
        _require_seconds("delivery_timeout_s", self.delivery_timeout_s)
        _require_seconds("transaction_timeout_s", self.transaction_timeout_s)
        is_name = self.transactional_id is None or (
            isinstance(self.transactional_id, str) and self.transactional_id != ""
        )
        _require(is_name, "transactional_id", self.transactional_id, "a name, or leave it out")
        if self.transactional_id is not None and not self.is_idempotent:
            raise ConfigurationError(
                "transactions need idempotence: leave is_idempotent=False out, or the transactional_id"
            )
        if self.is_idempotent and self.acks != "all":
            raise ConfigurationError(
                f"acks={self.acks!r} cannot be idempotent: pass is_idempotent=False too, or keep acks='all'"
            )


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What a consumer reads, and how.

    ``topics`` or ``pattern`` (a regular expression that must match the whole name), not both.
    Without a ``group`` the consumer reads every partition and keeps no progress.
    ``start`` says where a group without committed progress, or a reader without a group, begins.
    ``prefetch`` bounds the records fetched from a broker and not yet acknowledged, where the
    backend counts them (RabbitMQ). ``commit_interval_s`` is how often acknowledged progress is
    stored while polling; ``None`` leaves it to ``commit()`` and ``close()``.
    """

    topics: tuple[str, ...] = ()
    pattern: str | None = None
    group: str | None = None
    start: Start = "earliest"
    order: Order = "partition"
    isolation: Isolation = "read_committed"
    prefetch: int = 1000
    session_timeout_s: float = 10.0
    max_poll_interval_s: float = 300.0
    commit_interval_s: float | None = 5.0
    client_id: str | None = None
    native: dict[str, object] = field(default_factory=dict, repr=False)
    """Settings for the client library itself, under its own names."""

    def __post_init__(self) -> None:
        if bool(self.topics) == (self.pattern is not None):
            raise ConfigurationError("name the topics to read, or one pattern=…: exactly one of the two")
        if self.pattern is not None:
            _require_pattern(self.pattern)
        has_name = self.group is None or (isinstance(self.group, str) and self.group != "")
        _require(has_name, "group", self.group, "a name, or leave it out to read without a group")
        is_start = self.start in ("earliest", "latest") or isinstance(self.start, AtTime)
        _require(is_start, "start", self.start, "'earliest', 'latest' or a time (AtTime)")
        _require_one_of(Order, "order", self.order)
        _require_one_of(Isolation, "isolation", self.isolation)
        _require_records("prefetch", self.prefetch)
        _require_seconds("session_timeout_s", self.session_timeout_s)
        _require_seconds("max_poll_interval_s", self.max_poll_interval_s)
        if self.commit_interval_s is not None:
            _require_seconds("commit_interval_s", self.commit_interval_s)


def _require_pattern(pattern: object) -> None:
    try:
        re.compile(pattern)  # type: ignore[call-overload]
    except (re.error, TypeError) as cause:
        raise ConfigurationError(f"pattern={pattern!r} is no regular expression: {cause}") from cause
