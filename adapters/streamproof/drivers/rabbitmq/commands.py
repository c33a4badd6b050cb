"""What a procedure asks of a connection: values only, so that both colours run the same procedures.

A procedure is a generator that yields commands and is sent their answers; an error the server or
the connection raises is thrown into it. Each colour has one small interpreter.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeclareQueue:
    """Answered with ``None``. Raises ``Locked`` where another connection owns an exclusive one."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    is_exclusive: bool = False


@dataclass(frozen=True, slots=True)
class CheckQueue:
    """Answered with ``None`` if the queue is there; raises ``Missing``."""

    name: str


@dataclass(frozen=True, slots=True)
class DeclareExchange:
    """A durable direct exchange. Answered with ``None``."""

    name: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Answered with ``None``: messages routed from now on reach the queue."""

    queue: str
    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Answered with ``None``, also if there is none."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteExchange:
    """Answered with ``None``, also if there is none."""

    name: str


@dataclass(frozen=True, slots=True)
class Put:
    """Publish to one queue. Answered with ``None`` once confirmed; raises otherwise."""

    queue: str
    body: bytes
    mark: bytes | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """Read a stream from these places on (numbers, ``first``, ``last``, ``next``, times), one
    consumer each, on one channel. Answered with ``None`` once attached."""

    queue: str
    places: tuple[int | str | datetime, ...]


@dataclass(frozen=True, slots=True)
class Receive:
    """Answered with the messages that arrived since the last time, at least one, as a list of
    :class:`~streamproof.drivers.rabbitmq.codec.Message`."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Answered with the messages that the server sent before it took this, in a list."""


@dataclass(frozen=True, slots=True)
class Detach:
    """Stop reading. Answered with ``None``."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Answered with ``None`` after that time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Sync:
    """Answered with ``None`` once the catalogue holds every definition appended before this."""


Command = (
    DeclareQueue
    | CheckQueue
    | DeclareExchange
    | Bind
    | DeleteQueue
    | DeleteExchange
    | Put
    | Attach
    | Receive
    | Drain
    | Detach
    | Sleep
    | Sync
)

Procedure = Generator[Command, Any, T]
