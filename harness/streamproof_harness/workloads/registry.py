"""Workloads by name, for the command line, scenarios and histories."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from streamproof.errors import ConfigurationError
from streamproof_harness.workloads.clickstream import Clickstream, ClickstreamParameters
from streamproof_harness.workloads.orders import OrderParameters, Orders
from streamproof_harness.workloads.sensors import SensorParameters, Sensors
from streamproof_harness.workloads.workload import Workload


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """How one workload is made; ``parameters`` is a dataclass with a default for each field."""

    parameters: type[Any]
    make: Callable[[Any], Workload]

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """What may be passed to ``workload``."""
        return tuple(field.name for field in fields(self.parameters))


WORKLOADS: Mapping[str, WorkloadKind] = MappingProxyType(
    {
        Sensors.name: WorkloadKind(SensorParameters, Sensors),
        Clickstream.name: WorkloadKind(ClickstreamParameters, Clickstream),
        Orders.name: WorkloadKind(OrderParameters, Orders),
    }
)


def workload(name: str, /, **parameters: object) -> Workload:
    """The workload of that name; parameters that are not given have their defaults.

    Raises ``ConfigurationError``: no such workload, no such parameter, a wrong type, out of range;
    ``MissingExtra``: a library it needs is not installed.
    """
    kind = WORKLOADS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigurationError(f"there is no workload {name!r}{_instead(str(name), WORKLOADS)}")
    for given in parameters:
        if given not in kind.parameter_names:
            raise ConfigurationError(
                f"workload {name!r} has no parameter {given!r}{_instead(given, kind.parameter_names)}"
            )
    return kind.make(kind.parameters(**parameters))


def _instead(name: str, known: Iterable[str]) -> str:
    choices = list(known)
    close = get_close_matches(name, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(choices)}"
