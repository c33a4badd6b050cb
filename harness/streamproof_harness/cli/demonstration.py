"""One scenario, run and explained at length: what ``streamproof demo`` prints."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import click

from streamproof_harness.backends import broker_for, target_named
from streamproof_harness.report.console import Console
from streamproof_harness.report.reasons import reasons
from streamproof_harness.runner import Result, run_scenario
from streamproof_harness.workloads import Row, report_lines


def show_scenario(
    name: str, backend: str, seed: int, parameters: Mapping[str, int | float], *, shows_all: bool = False
) -> int:
    """Run it and print the answer beside the right one, the verdict, and its shortest proof.

    ``shows_all`` prints every row of the answer; else the totals and what differs.

    Returns the exit status of the verdict itself: 0 valid, 1 invalid, 4 unknown.
    """
    from streamproof_scenarios import scenario_named

    scenario = scenario_named(name)
    target = target_named(backend)
    opened = nullcontext(target.url) if target.url is not None else broker_for(target)
    console = Console(1, is_quiet=True)
    with opened as url, console:
        assert url is not None
        console.begin(f"{name} · {target.backend}")
        result = run_scenario(scenario, url, target.backend, "sync", seed=seed, parameters=parameters)
    click.echo(f"{scenario.name}: {scenario.summary}\n")
    _print_answers(result, shows_all)
    _print_verdict(result)
    return {"valid": 0, "invalid": 1}.get(result.verdict, 4)


def _print_answers(result: Result, shows_all: bool) -> None:
    for group, answer in result.answers.items():
        click.echo(f"What {group} made of it, beside the right answer:")
        shown = answer if shows_all else replace(answer, rows=tuple(_telling(answer.rows)))
        for line in report_lines(shown):
            click.echo(f"  {line}")
        hidden = len(answer.rows) - len(shown.rows)
        if hidden:
            click.echo(f"  and {hidden} more rows that agree (--all shows them)")
        click.echo("")


def _telling(rows: Sequence[Row]) -> Iterator[Row]:
    """What differs, and of what agrees the totals: rows about one zone or device say no more."""
    for row in rows:
        if not row.is_equal or ", zone " not in row.what:
            yield row


def _print_verdict(result: Result) -> None:
    measures = result.measures
    if measures is not None and measures.sent_per_s and measures.latency_p50_s is not None:
        assert measures.latency_p99_s is not None
        click.echo(
            f"{measures.sent:,} sent at {measures.sent_per_s:,.0f}/s, {measures.handled:,} handled; "
            f"latency from the intended send: p50 {measures.latency_p50_s * 1e3:.2f} ms, "
            f"p99 {measures.latency_p99_s * 1e3:.2f} ms"
        )
    for line in reasons(result):
        click.echo(line)
    click.echo(f"verdict: {result.verdict}")
    click.echo(f"history: {result.history} (judge it again with: streamproof check {result.history})")
