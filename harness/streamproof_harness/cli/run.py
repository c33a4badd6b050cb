"""``streamproof run``."""

import json
from pathlib import Path

import click

from streamproof import ConfigurationError


@click.command()
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="URL",
    help="memory, kafka, rabbitmq or a URL; more than once for more. Default: memory.",
)
@click.option("--colour", type=click.Choice(["sync", "async", "both"]), default="sync", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--rate", type=click.IntRange(1, 1_000_000), help="Messages a second of the workload.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A scenario's parameter.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    help="Keep the history: a file, or a folder for several runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML.")
def run(
    names: tuple[str, ...],
    backends: tuple[str, ...],
    colour: str,
    seed: int,
    rate: int | None,
    settings: tuple[str, ...],
    history: Path | None,
    as_json: bool,
    junit: Path | None,
) -> int:
    """Run scenarios (all, if none is named) and judge each by its history.

    Exit status: 0 every run as its scenario expects, 1 not so, 2 usage, 3 no broker, 4 unknown.
    """
    from streamproof_harness.backends import target_named
    from streamproof_harness.report.console import Console
    from streamproof_harness.report.junit import junit_xml
    from streamproof_harness.report.machine import result_json
    from streamproof_harness.series import COLOURS, Series, exit_status
    from streamproof_scenarios import catalogue, scenario_named

    chosen = [scenario_named(name) for name in names] or list(catalogue().values())
    series = Series(
        scenarios=chosen,
        targets=[target_named(text) for text in backends or ("memory",)],
        colours=COLOURS[colour],
        seed=seed,
        parameters=_parameters(settings, rate),
        history=history,
    )
    console = Console(series.count, is_quiet=as_json)
    with console:
        results = [console.show(result) for result in series.run(console.begin)]
    if as_json:
        click.echo(json.dumps([result_json(result) for result in results], indent=2))
    else:
        console.summary(results, series.skipped)
    if junit is not None:
        junit.write_bytes(junit_xml(results))
    return exit_status(results)


def _parameters(settings: tuple[str, ...], rate: int | None) -> dict[str, int | float]:
    given: dict[str, int | float] = {} if rate is None else {"rate": rate}
    for setting in settings:
        name, separator, text = setting.partition("=")
        try:
            value = float(text)
        except ValueError:
            separator = ""
        if not separator:
            raise ConfigurationError(f"--set {setting!r} is not NAME=NUMBER, e.g. --set seconds=5")
        given[name] = int(value) if value.is_integer() else value
    return given
