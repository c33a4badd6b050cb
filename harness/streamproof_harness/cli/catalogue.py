"""``streamproof list``."""

import json

import click


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line of the list.")
def list_(as_json: bool) -> None:
    """The scenarios, and what each one shows."""
    from streamproof_scenarios import catalogue

    found = catalogue()
    width = max(map(len, found))
    for name, scenario in found.items():
        if as_json:
            row = {
                "name": name,
                "summary": scenario.summary,
                "backends": list(scenario.backends),
                "colours": list(scenario.colours),
                "parameters": dict(scenario.parameters),
                "expects": scenario.expects,
            }
            click.echo(json.dumps(row))
        else:
            click.echo(f"{name:<{width}}  {scenario.summary}")
