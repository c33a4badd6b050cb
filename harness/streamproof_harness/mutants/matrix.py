"""Runs mutants, and says which check killed each and what else lit up."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamproof_harness.checkers import CHECKS
from streamproof_harness.clients.member import Colour
from streamproof_harness.mutants.mutant import Mutant
from streamproof_harness.runner import Result, run_scenario
from streamproof_harness.scenario import Backend, Scenario
from streamproof_harness.verdict import CheckVerdict


@dataclass(frozen=True, slots=True)
class Trial:
    """One mutant's run. Only the verdict on its history counts: not the workload's answer, not what
    the scenario claims."""

    mutant: Mutant
    result: Result

    @property
    def checks(self) -> Mapping[str, CheckVerdict]:
        """The row of every check; none if the run failed."""
        return {} if self.result.judgement is None else self.result.judgement.checks

    @property
    def is_killed(self) -> bool:
        """Whether the check that must find the defect found something."""
        return self.mutant.check in self.found

    @property
    def found(self) -> tuple[str, ...]:
        """The checks that found something, in the order of the table, whatever their severity."""
        return tuple(name for name, row in self.checks.items() if row.verdict == "invalid")

    @property
    def others(self) -> tuple[str, ...]:
        """The forbidden ones among them but for the mutant's own."""
        return tuple(
            name
            for name in self.found
            if name != self.mutant.check and self.checks[name].severity == "forbidden"
        )

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Those of the others for which the mutant gives no reason."""
        return tuple(name for name in self.others if name not in self.mutant.others)

    @property
    def problem(self) -> str | None:
        """What is wrong with this run; ``None`` if the mutant was killed as it must be."""
        if self.result.failure is not None:
            return f"the run did not come to its end: {self.result.failure}"
        if not self.result.strikes:
            return "the mutant did no harm: its scenario brings nothing that it could break"
        if not self.is_killed:
            return f"{self.mutant.check} did not find it"
        if self.unexplained:
            return f"without a stated reason {', '.join(self.unexplained)} found something, too"
        return None


@dataclass(frozen=True, slots=True)
class Control:
    """A scenario as the mutants run it, with nothing broken."""

    parameters: Mapping[str, int | float]
    result: Result

    @property
    def problem(self) -> str | None:
        """What is wrong with this run; ``None`` if its verdict is the scenario's."""
        if self.result.failure is not None:
            return f"the run did not come to its end: {self.result.failure}"
        return None if self.result.is_as_expected else f"unbroken, and {self.result.verdict}"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where trials are made. ``find`` gives a scenario by its name; ``capabilities`` are the backend's,
    as histories name them; histories are kept in the folder ``histories``, if there is one."""

    find: Callable[[str], Scenario]
    url: str = "memory://"
    backend: Backend = "memory"
    colour: Colour = "sync"
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    seed: int = 0
    histories: Path | None = None

    def why_not(self, mutant: Mutant) -> str | None:
        """Why this mutant has no trial here; ``None`` if it has one."""
        if mutant.is_in_engine and self.backend != "memory":
            return "the defect lies in the in-memory engine"
        scenario = self.find(mutant.scenario)
        if self.backend not in scenario.backends:
            return scenario.why_not.get(self.backend, f"{scenario.name} is not on this backend")
        for one, needs in ((mutant.check, CHECKS[mutant.check].needs), ("the defect", mutant.needs)):
            lacking = [name for name in needs if not self.capabilities.get(name, True)]
            if lacking:
                return f"{one} needs {' and '.join(lacking)} of the backend"
        return None

    def try_mutant(self, mutant: Mutant) -> Trial:
        """Run the mutant's scenario with its defect."""
        settings = {"mutant": mutant.name, "patience_s": mutant.patience_s}
        return Trial(mutant, self._run(mutant.name, mutant, settings))

    def try_control(self, mutant: Mutant) -> Control:
        """Run the mutant's scenario without it."""
        return Control(mutant.parameters_on(self.backend), self._run(f"control-of-{mutant.name}", mutant, {}))

    def _run(self, name: str, like: Mutant, settings: dict[str, Any]) -> Result:
        file = None
        if self.histories is not None:
            self.histories.mkdir(parents=True, exist_ok=True)
            file = self.histories / f"{name}.{self.backend}.{self.colour}.jsonl"
        result = run_scenario(
            self.find(like.scenario),
            self.url,
            self.backend,
            self.colour,
            seed=self.seed,
            parameters=like.parameters_on(self.backend),
            history=file,
            **settings,
        )
        if file is None:
            shutil.rmtree(result.history.parent)
        return result


def one_each_way(mutants: Iterable[Mutant]) -> list[Mutant]:
    """One mutant for each way in which these run a scenario."""
    ways: dict[tuple[object, ...], Mutant] = {}
    for mutant in mutants:
        ways.setdefault((mutant.scenario, *sorted(mutant.parameters.items())), mutant)
    return list(ways.values())


def matrix_json(trials: Iterable[Trial], controls: Iterable[Control]) -> dict[str, Any]:
    """The matrix as ``streamproof mutants --json`` prints it."""
    return {
        "mutants": [
            {
                "name": trial.mutant.name,
                "check": trial.mutant.check,
                "killed": trial.is_killed,
                "others": list(trial.others),
                "unexplained": list(trial.unexplained),
                "breaks": trial.mutant.breaks,
            }
            for trial in trials
        ],
        "controls": [
            {
                "scenario": control.result.scenario,
                "parameters": dict(control.parameters),
                "verdict": control.result.verdict,
            }
            for control in controls
        ],
    }
