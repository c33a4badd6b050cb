"""``streamproof mutants``."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streamproof_harness.mutants import Mutant


@click.command()
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option(
    "--backend", default="memory", show_default=True, metavar="URL", help="memory, kafka, rabbitmq or a URL."
)
@click.option("--colour", type=click.Choice(["sync", "async"]), default="sync", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the histories in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="The matrix as JSON on standard output.")
def mutants(
    names: tuple[str, ...], backend: str, colour: str, seed: int, history: Path | None, as_json: bool
) -> int:
    """Run broken drivers, clients and workers (all, if none is named): every check must find the
    defects it is there for, from the history alone, and nothing in the same runs unbroken.

    Exit status: 0 it is so, 1 it is not, 2 usage, 3 no broker.
    """
    from streamproof_harness.backends import broker_for, target_named
    from streamproof_harness.clients.member import Colour
    from streamproof_harness.clients.plans import Place
    from streamproof_harness.mutants import MUTANTS, mutant_named
    from streamproof_harness.mutants.matrix import Bench, matrix_json, one_each_way
    from streamproof_harness.report.mutant_matrix import matrix_lines, problem_lines
    from streamproof_harness.runner import capabilities_of, in_histories
    from streamproof_scenarios import scenario_named

    chosen = [mutant_named(name) for name in names] or list(MUTANTS)
    target = target_named(backend)
    own: Colour = "sync" if colour == "sync" else "async"
    with broker_for(target) as url:
        capabilities = in_histories(capabilities_of(Place(url), own))
        bench = Bench(scenario_named, url, target.backend, own, capabilities, seed, history)
        skipped = {mutant.name: reason for mutant in chosen if (reason := bench.why_not(mutant))}
        tried = [mutant for mutant in chosen if mutant.name not in skipped]
        trials = [bench.try_mutant(mutant) for mutant in _shown(tried, "mutants")]
        unbroken = [bench.try_control(mutant) for mutant in _shown(one_each_way(tried), "controls")]
    if as_json:
        click.echo(json.dumps(matrix_json(trials, unbroken), indent=2))
    else:
        lines = [*matrix_lines(trials), "", *problem_lines(trials, unbroken)]
        lines += [f"– {name}: {reason}" for name, reason in skipped.items()]
        click.echo("\n".join(lines))
    problems = [trial.problem for trial in trials] + [control.problem for control in unbroken]
    return int(any(problem is not None for problem in problems))


def _shown(mutants: Sequence["Mutant"], label: str) -> Iterator["Mutant"]:
    """The same, with a bar of progress on a terminal."""
    with click.progressbar(
        mutants, label=label, file=sys.stderr, item_show_func=lambda mutant: mutant and mutant.name
    ) as bar:
        yield from bar
