"""``streamproof up``, ``down`` and ``doctor``."""

import sys
from typing import cast

import click

from streamproof_harness import servers
from streamproof_harness.servers import KINDS, URL_VARIABLES, Kind, ServerError

# Of the history format's exit statuses: the environment is not as needed.
EXIT_ENVIRONMENT = 3
MARKS = {"ok": "ok", "missing": "--", "wrong": "!!"}


class WrongEnvironment(click.ClickException):
    """A broker cannot be had, started or ended here."""

    exit_code = EXIT_ENVIRONMENT


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[kafka] [rabbitmq]")
def up(kinds: tuple[str, ...]) -> None:
    """Start real brokers and leave them running until "streamproof down".

    Without a name, both. The lines printed on standard output, given to a shell, make the tests and
    scenarios use them: eval "$(streamproof up)".
    """
    wanted = cast("tuple[Kind, ...]", kinds) or KINDS
    try:
        entries = servers.up(wanted)
    except ServerError as error:
        raise WrongEnvironment(str(error)) from error
    for entry in entries:
        click.echo(f"{entry.kind}: {entry.url} ({entry.how})", err=True)
        click.echo(f"export {URL_VARIABLES[entry.kind]}={entry.url}")


@click.command()
def down() -> None:
    """End the brokers that "streamproof up" started, and remove their data."""
    try:
        ended = servers.down()
    except ServerError as error:
        raise WrongEnvironment(str(error)) from error
    click.echo(f"ended: {', '.join(entry.kind for entry in ended)}" if ended else "nothing was up")


@click.command()
def doctor() -> None:
    """Tell which brokers and clients can be used here, and what to do about those that cannot."""
    try:
        findings = servers.doctor()
    except ServerError as error:
        raise WrongEnvironment(str(error)) from error
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        remedy = f": {finding.remedy}" if finding.remedy else ""
        click.echo(f"{MARKS[finding.status]}  {finding.name:<{width}}  {finding.detail}{remedy}")
    if any(finding.status == "wrong" for finding in findings):
        sys.exit(EXIT_ENVIRONMENT)
