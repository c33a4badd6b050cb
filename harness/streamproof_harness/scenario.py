"""A scenario: a script that conducts a run, and the contract that its history must keep."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamproof import ConfigurationError
from streamproof_harness.run import Run

Script = Callable[[Run], Awaitable[None]]
Backend = Literal["memory", "kafka", "rabbitmq"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario of the catalogue.

    ``contract`` as in a history's header; ``evidence`` sets minimums for its checks.
    ``parameters`` are what the script reads from ``run.parameters``, with their defaults.
    ``broker_parameters`` are other defaults for real brokers, whose groups take longer to notice that
    a member died. ``expects`` is the verdict of a run that shows what it should: ``invalid`` for a
    control that must fail. ``crashes``: readers are killed, so on real brokers they are processes of
    their own. ``harms_broker``: the broker is killed, so it needs one of its own.
    """

    name: str
    summary: str
    script: Script
    contract: Mapping[str, Any]
    evidence: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    broker_parameters: Mapping[str, int | float] = field(default_factory=dict)
    backends: tuple[Backend, ...] = ("memory", "kafka", "rabbitmq")
    colours: tuple[Literal["sync", "async"], ...] = ("sync", "async")
    expects: Literal["valid", "invalid"] = "valid"
    crashes: bool = False
    harms_broker: bool = False
    contracts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For a backend that cannot keep the contract: the one that is kept there, whole, with its evidence.
    Tables name its base beside the verdict."""
    why_not: Mapping[str, str] = field(default_factory=dict)
    """For each backend that is left out: why."""

    def contract_on(self, backend: Backend) -> dict[str, Any]:
        """The contract of a run on this backend, as it stands in the history's header."""
        if backend in self.contracts:
            return dict(self.contracts[backend])
        described = {"base": self.contract} if isinstance(self.contract, str) else dict(self.contract)
        if self.evidence:
            described["evidence"] = dict(self.evidence)
        return described

    def with_parameters(
        self, given: Mapping[str, int | float], backend: Backend = "memory"
    ) -> dict[str, int | float]:
        """The parameters of a run; :class:`ConfigurationError` names an unknown or impossible one."""
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise ConfigurationError(f"{self.name} has no parameter {unknown[0]!r}; it has: {known}")
        for name, value in given.items():
            if not value > 0:
                raise ConfigurationError(f"{name}={value} is out of range: give more than 0")
        own = self.broker_parameters if backend != "memory" else {}
        return {**self.parameters, **own, **given}


def scenario(name: str, summary: str, **settings: Any) -> Callable[[Script], Scenario]:
    """Make a scenario of a script: the decorator of the catalogue's files."""

    def made(script: Script) -> Scenario:
        return Scenario(name=name, summary=summary, script=script, **settings)

    return made
