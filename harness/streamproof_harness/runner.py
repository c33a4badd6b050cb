"""Runs a scenario on a backend and judges what came of it."""

import asyncio
import contextlib
import logging
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamproof import Capabilities, StreamproofError, aconnect, connect
from streamproof.drivers.memory import forget
from streamproof.url import parse_address
from streamproof_harness.clients.member import Colour
from streamproof_harness.clients.plans import Place
from streamproof_harness.history.recorder import Recorder
from streamproof_harness.judging import judge
from streamproof_harness.measures import Measures, measure
from streamproof_harness.mutants.catalogue import mutant_named
from streamproof_harness.mutants.engine import break_engine
from streamproof_harness.run import HarmableServer, Run, RunFailure
from streamproof_harness.scenario import Backend, Scenario
from streamproof_harness.verdict import HistoryVerdict
from streamproof_harness.workloads import OracleReport

_log = logging.getLogger("streamproof.runner")

Outcome = Literal["as expected", "not as expected", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run. ``failure`` says why there is no judgement."""

    scenario: str
    backend: Backend
    colour: Colour
    seed: int
    expects: str
    history: Path
    judgement: HistoryVerdict | None = None
    failure: str | None = None
    measures: Measures | None = None
    answers: Mapping[str, OracleReport] = field(default_factory=dict)
    claims: tuple[tuple[bool, str], ...] = ()
    lines: tuple[str, ...] = ()
    instead: str = ""
    """The base of the contract that holds on this backend instead of the scenario's own."""
    strikes: int = 0
    """How often the mutant did its harm."""

    @property
    def verdict(self) -> str:
        """``valid``, ``invalid`` or ``unknown``: the history's, made worse by a false claim or a
        wrong answer."""
        if self.judgement is None:
            return "unknown"
        if self.judgement.verdict != "invalid" and not all(is_true for is_true, _ in self.claims):
            return "invalid"
        if self.judgement.verdict == "valid" and not all(
            answer.is_complete for answer in self.answers.values()
        ):
            return "invalid"
        return self.judgement.verdict

    @property
    def is_as_expected(self) -> bool:
        """Whether the verdict is the one that the scenario promises."""
        return self.verdict == self.expects


def run_scenario(
    scenario: Scenario,
    url: str,
    backend: Backend,
    colour: Colour,
    *,
    seed: int = 0,
    parameters: Mapping[str, int | float] | None = None,
    history: Path | None = None,
    server: HarmableServer | None = None,
    patience_s: float = 60.0,
    mutant: str = "",
) -> Result:
    """Run it once. Blocks until every client of the run has ended; the time is bounded by
    ``patience_s`` for each thing that is waited for. Never raises for what a backend does:
    the result says it. ``mutant`` names a defect that the clients of the run shall have, or, in memory, its
    engine."""
    chosen = scenario.with_parameters(parameters or {}, backend)
    path = history or Path(tempfile.mkdtemp(prefix="streamproof-")) / f"{scenario.name}.jsonl"
    name = f"run-{uuid.uuid4().hex[:10]}"
    own = {"url": _own_cluster(name, url)} if backend == "memory" else {"url": url, "namespace": f"{name}."}
    place = Place(**own, mutant=mutant)
    capabilities = capabilities_of(place, colour)
    header = {
        "run": name,
        "backend": parse_address(place.url).redacted,
        "seed": seed,
        "scenario": scenario.name,
        "colour": colour,
        "parameters": chosen,
        "contract": scenario.contract_on(backend),
        "capabilities": in_histories(capabilities),
        "python": sys.version.split()[0],
    }
    if mutant:
        header["mutant"] = mutant
    recorder = Recorder(header, path=path)
    run = Run(
        place,
        colour,
        recorder,
        seed,
        chosen,
        capabilities,
        server=server,
        patience_s=patience_s,
        isolates=scenario.crashes,
    )
    if mutant:
        break_engine(mutant_named(mutant), place.url, lambda: run.findings.struck("engine"))
    failure = None
    try:
        asyncio.run(_conduct(scenario, run))
    except (RunFailure, StreamproofError) as error:
        failure = f"{type(error).__name__}: {error}"
    finally:
        recorder.close()
        _clear_away(run)
    return _judged(scenario, backend, colour, seed, path, run, failure)


def _own_cluster(name: str, url: str) -> str:
    """An in-memory cluster of the run's own, with the options of the URL that was given."""
    _, has_options, options = url.partition("?")
    return f"memory://{name}{has_options}{options}"


async def _conduct(scenario: Scenario, run: Run) -> None:
    try:
        await scenario.script(run)
    finally:
        await run.close()


def _judged(
    scenario: Scenario, backend: Backend, colour: Colour, seed: int, path: Path, run: Run, failure: str | None
) -> Result:
    judgement = judge(path)
    with path.open("rb") as file:
        next(file)
        measures = measure(file)
    for id in run.findings.unsent:
        for oracle in run.oracles.values():
            oracle.exclude(id)
    return Result(
        scenario=scenario.name,
        backend=backend,
        colour=colour,
        seed=seed,
        expects=scenario.expects,
        history=path,
        judgement=judgement if failure is None else None,
        failure=failure,
        measures=measures,
        answers={group: oracle.report() for group, oracle in run.oracles.items()},
        claims=tuple(run.claims),
        lines=tuple(run.lines),
        instead=scenario.contracts[backend]["base"] if backend in scenario.contracts else "",
        strikes=run.findings.strikes,
    )


def capabilities_of(place: Place, colour: Colour = "sync") -> Capabilities:
    """What the backend says it can do; clients of the two colours may differ."""
    if colour == "async":
        return asyncio.run(_async_capabilities_of(place))
    with connect(place.url) as bus:
        return bus.capabilities


async def _async_capabilities_of(place: Place) -> Capabilities:
    async with await aconnect(place.url) as bus:
        return bus.capabilities


def in_histories(declared: Capabilities) -> dict[str, bool]:
    """The same under the names that histories use."""
    return {
        "offsets": declared.has_group_offsets,
        "generations": declared.has_generations,
        "transactions": declared.can_transact,
    }


def _clear_away(run: Run) -> None:
    """Leave nothing of the run on the backend; what cannot be removed is said, not hidden."""
    if run.is_memory:
        forget(run.place.url.removeprefix("memory://").partition("?")[0])
        return
    with contextlib.suppress(StreamproofError), connect(run.place.url, namespace=run.place.namespace) as bus:
        admin = bus.admin()
        for topic in run.topics:
            try:
                admin.delete_topics(topic)
            except StreamproofError as error:
                _log.warning("topic %s of this run was not deleted: %s", topic, error)
