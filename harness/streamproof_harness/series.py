"""Several scenarios on several backends in several colours: one broker a backend, shared."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from streamproof import ConfigurationError
from streamproof_harness.backends import Target, broker_for, private_broker, why_not
from streamproof_harness.clients.member import Colour
from streamproof_harness.run import HarmableServer
from streamproof_harness.runner import Result, run_scenario
from streamproof_harness.scenario import Scenario

COLOURS: dict[str, tuple[Colour, ...]] = {
    "sync": ("sync",),
    "async": ("async",),
    "both": ("sync", "async"),
}


@dataclass(slots=True)
class Series:
    """The runs, in order: backend by backend. ``parameters`` go to every scenario that has them."""

    scenarios: Sequence[Scenario]
    targets: Sequence[Target]
    colours: Sequence[Colour]
    seed: int = 0
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    history: Path | None = None

    def __post_init__(self) -> None:
        for name in self.parameters:
            if not any(name in scenario.parameters for scenario in self.scenarios):
                raise ConfigurationError(f"no chosen scenario has a parameter {name!r}")

    @property
    def count(self) -> int:
        """How many runs there are."""
        return sum(1 for _ in self._plan())

    @property
    def skipped(self) -> list[tuple[str, str, str]]:
        """Scenario, backend, and why it does not run there."""
        return [
            (scenario.name, target.backend, reason)
            for target in self.targets
            for scenario in self.scenarios
            if (reason := why_not(scenario, target)) is not None
        ]

    def run(self, begin: Callable[[str], None]) -> Iterator[Result]:
        """Run one after the other; ``begin`` is told the label of each before it starts."""
        with ExitStack() as brokers:
            urls: dict[Target, str] = {}
            for target, scenario, colour in self._plan():
                begin(f"{scenario.name} · {target.backend} · {colour}")
                if scenario.harms_broker and target.backend != "memory":
                    with private_broker(target.backend) as server:
                        yield self._run_one(scenario, target, colour, server.url, server)
                    continue
                if target not in urls:
                    urls[target] = brokers.enter_context(broker_for(target))
                yield self._run_one(scenario, target, colour, urls[target], None)

    def _run_one(
        self, scenario: Scenario, target: Target, colour: Colour, url: str, server: HarmableServer | None
    ) -> Result:
        file = self._file(scenario, target, colour)
        own = {name: value for name, value in self.parameters.items() if name in scenario.parameters}
        result = run_scenario(
            scenario,
            url,
            target.backend,
            colour,
            seed=self.seed,
            parameters=own,
            history=file,
            server=server,
        )
        if file is None and result.is_as_expected:
            # Nobody asked for it, and there is nothing to look into.
            shutil.rmtree(result.history.parent)
        return result

    def _file(self, scenario: Scenario, target: Target, colour: Colour) -> Path | None:
        if self.history is None or self.count == 1:
            return self.history
        try:
            self.history.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"--history {self.history}: there are {self.count} runs, so it must name a folder: {error}"
            ) from error
        return self.history / f"{scenario.name}.{target.backend}.{colour}.jsonl"

    def _plan(self) -> Iterator[tuple[Target, Scenario, Colour]]:
        for target in self.targets:
            for scenario in self.scenarios:
                if why_not(scenario, target) is None:
                    for colour in self.colours:
                        if colour in scenario.colours:
                            yield target, scenario, colour


def exit_status(results: Sequence[Result]) -> int:
    """The exit status of several runs: 1 if one shows what it must not (or hides what it must
    show), 4 if one could not be judged, else 0."""
    if any(
        result.failure is None and not result.is_as_expected and result.verdict != "unknown"
        for result in results
    ):
        return 1
    return 0 if all(result.is_as_expected for result in results) else 4
