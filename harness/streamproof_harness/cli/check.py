"""``streamproof check``: judge a history file."""

import os
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

# One thread is all that numpy needs here, and a program without others may fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from streamproof_harness.judging import judge
from streamproof_harness.verdict import HistoryVerdict, verdict_lines

_COLOURS = {"valid": "green", "invalid": "red", "unknown": "yellow"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--contract",
    metavar="NAME|FILE",
    help="at-least-once, exactly-once, at-most-once, effect-once, or a JSON file. "
    "Default: the contract in the history's header, else at-least-once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every check as JSON.")
@click.pass_context
def check(context: click.Context, file: Path, contract: str | None, as_json: bool) -> None:
    """Judge the history in FILE (.jsonl or .jsonl.gz).

    Exit status: 0 valid, 1 invalid, 2 input or usage error, 4 unknown.
    """
    verdict = judge(file, contract)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdict.as_json()), indent=2).decode())
    else:
        _show(verdict)
    context.exit(verdict.exit_status)


def _show(verdict: HistoryVerdict) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for line in verdict_lines(verdict):
            click.echo(line)
        return
    table = Table("check", "verdict", "severity", "found", "exercised", box=None, pad_edge=False)
    for name, row in verdict.checks.items():
        style = "dim" if row.is_lacking else _COLOURS[row.verdict]
        counts = str(row.count or ""), str(row.evidence or "")
        table.add_row(name, f"[{style}]{row.mark}[/]", row.severity, *counts)
    console.print(table)
    for line in verdict_lines(verdict, with_rows=False):
        console.print(line, markup=False)
