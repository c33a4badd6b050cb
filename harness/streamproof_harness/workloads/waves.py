"""A workload in waves: its messages one part after the other, each sent when the script says so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise

from msgspec.structs import replace

from streamproof_harness.workloads.oracle import Oracle
from streamproof_harness.workloads.workload import Message, Parameter, Workload


@dataclass(frozen=True, slots=True)
class Wave:
    """The messages number ``first`` up to ``last`` of a workload, due as if nothing came before.

    It is a workload itself; its oracle is that of the whole.
    """

    whole: Workload
    first: int
    last: int

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def topic(self) -> str:
        return self.whole.topic

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return self.whole.parameters

    @property
    def library_versions(self) -> Mapping[str, str]:
        return self.whole.library_versions

    @property
    def message_limit(self) -> int:
        return self.last - self.first

    def messages(self) -> Iterator[Message]:
        start_ns: int | None = None
        for message in islice(self.whole.messages(), self.first, self.last):
            start_ns = message.due_ns if start_ns is None else start_ns
            yield replace(message, due_ns=message.due_ns - start_ns)

    def oracle(self) -> Oracle:
        return self.whole.oracle()


def waves(whole: Workload, count: int) -> list[Wave]:
    """``count`` waves of as many messages each, give or take one, that together are the whole."""
    total = sum(1 for _ in whole.messages())
    bounds = [total * number // count for number in range(count + 1)]
    return [Wave(whole, first, last) for first, last in pairwise(bounds)]
