"""What an in-memory backend can be told, and what it can do."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

from streamproof.capabilities import Capabilities
from streamproof.core.topics import MAX_MESSAGE_BYTES
from streamproof.core.transactional_id import ProtocolVersion
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import parse_flag

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
    can_compact=False,
    can_transact=True,
    has_idempotence=True,
    has_member_fencing=True,
)


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """A cluster's settings; also the options of a ``memory://`` URL.

    ``partitions`` is how many a topic gets that ``auto_create`` makes on its first use.
    ``max_message_bytes`` limits a record with its framing, as Kafka's ``max.message.bytes``.
    ``transaction_version`` 1 is the protocol that Kafka had before KIP-890, with its defect: what comes
    late from one transaction can end up in the next.
    """

    partitions: int = 1
    auto_create: bool = False
    max_message_bytes: int = MAX_MESSAGE_BYTES
    transaction_version: ProtocolVersion = 2

    def __post_init__(self) -> None:
        if self.transaction_version not in (1, 2):
            raise ConfigurationError(
                f"transaction_version={self.transaction_version} is not possible: give 1 or 2"
            )
        for name in ("partitions", "max_message_bytes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} is not possible: give 1 or more")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "MemorySettings":
        """The settings that URL options ask for; :class:`ConfigurationError` names unknown ones."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(options.keys() - set(known))
        if unknown:
            raise ConfigurationError(f"memory:// has no option {unknown[0]!r}: there are {', '.join(known)}")
        return cls(
            partitions=_number(options, "partitions", 1),
            auto_create=parse_flag("auto_create", options.get("auto_create", "off")),
            max_message_bytes=_number(options, "max_message_bytes", MAX_MESSAGE_BYTES),
            transaction_version=cast("ProtocolVersion", _number(options, "transaction_version", 2)),
        )


def _number(options: Mapping[str, str], name: str, default: int) -> int:
    value = options.get(name)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        raise ConfigurationError(f"{name}={value!r} is not a whole number") from None


def require_producer(options: ProducerOptions) -> None:
    """Refuse what a producer in memory cannot honour. Nothing is sent over a network: ``linger_ms``,
    ``compression`` and the bounds of the buffer are honoured by having nothing to do."""
    _require_no_native(options.native)


def require_consumer(options: ConsumerOptions) -> None:
    """Refuse what a consumer in memory cannot honour."""
    _require_no_native(options.native)


def _require_no_native(native: Mapping[str, object]) -> None:
    if native:
        raise ConfigurationError(
            f"memory:// has no client library to take the native setting {next(iter(native))!r}: leave it out"
        )
