"""What a procedure asks of a connection: values only, so that both colours run the same procedures.

A procedure is a generator that yields commands and is sent their answers; an error the server or
the connection raises is thrown into it. Each colour has one small interpreter.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

S = TypeVar("S")
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
class PutAll:
    """Publish several messages, or none, each to its queue, in this order. Answered with ``None`` once
    all are confirmed; raises otherwise, when none is under way any more."""

    puts: tuple[Put, ...]


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


@dataclass(frozen=True, slots=True)
class Together:
    """Run these procedures, if any, at the same time, each on channels of its own. Answered with their
    results in a list, in this order; raises the first error, when all have ended."""

    procedures: "tuple[Procedure[Any], ...]"


Command = (
    DeclareQueue
    | CheckQueue
    | DeclareExchange
    | Bind
    | DeleteQueue
    | DeleteExchange
    | Put
    | PutAll
    | Attach
    | Receive
    | Drain
    | Detach
    | Sleep
    | Sync
    | Together
)

Procedure = Generator[Command, Any, T]

LANES = 8
"""So many procedures together keep the server busy: it serves one channel's requests in turn."""


def in_lanes(work: Callable[[S], Procedure[T]], items: Sequence[S]) -> Procedure[list[T]]:
    """Do the work on every item, a few of them at a time; the results in the items' order."""
    lanes = [items[lane::LANES] for lane in range(min(LANES, len(items)))]
    answers: list[list[T]] = yield Together(tuple(_in_turn(work, lane) for lane in lanes))
    results: dict[int, T] = {}
    for lane, answer in enumerate(answers):
        results.update(zip(range(lane, len(items), LANES), answer, strict=True))
    return [results[place] for place in range(len(items))]


def _in_turn(work: Callable[[S], Procedure[T]], items: Sequence[S]) -> Procedure[list[T]]:
    results: list[T] = []
    for item in items:
        results.append((yield from work(item)))
    return results
