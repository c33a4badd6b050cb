"""What a workload is: the traffic of a run, made from a seed, and the right answer to it.

A workload is a value: it holds parameters, no position. ``messages()`` may be called as often as
one likes, from any thread or process, and gives the same sequence each time, for one seed and one
set of parameters, on every Python version and machine; nothing is held in memory but what is
proportional to devices, users or customers.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from streamproof_harness.workloads.oracle import Oracle

ID_HEADER = "id"
"""The header that carries a message's id, so that a consumer finds it without reading the value."""

Parameter = str | int | float


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message to send.

    * ``id``: unique within the run: workload, seed and number. Also the header ``id``.
    * ``key``: what it is about (device, user, customer); messages of one key are in order.
    * ``value``: JSON.
    * ``timestamp_ms``: event time, since the Unix epoch. From a fixed epoch, not from a clock.
    * ``due_ns``: when it ought to be sent, since the start of the run; never decreases from one
      message to the next. Open loop: a sender that falls behind does not move what is due later.
    * ``seq``: 0, 1, 2 … for each key, in the order of sending.
    * ``amount``: what it adds to the sum that a run must conserve; 0 where that means nothing.
    * ``partition``: the partition it must go to, or ``None``: by key.
    """

    id: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    due_ns: int
    seq: int
    amount: int
    partition: int | None = None


class Workload(Protocol):
    """Traffic and its right answer.

    ``workload(w.name, **w.parameters)`` makes an equal workload, also in another process;
    ``parameters`` holds every parameter, JSON types only, for a history's header.
    """

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def topic(self) -> str:
        """The topic it is meant for; the runner may send to another."""
        ...

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter with its value, defaults included."""
        ...

    @property
    def library_versions(self) -> Mapping[str, str]:
        """The libraries, besides Python, that the sequence depends on: name to version."""
        ...

    @property
    def message_limit(self) -> int:
        """An upper bound of the number of messages: for progress bars."""
        ...

    def messages(self) -> Iterator[Message]:
        """All messages, in the order in which they are due."""
        ...

    def oracle(self) -> Oracle:
        """A new oracle that has received nothing yet."""
        ...
