"""``streamproof demo``."""

import click


@click.group(invoke_without_command=True)
@click.option("--backend", default="memory", show_default=True, metavar="URL")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--rate", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True)
@click.option("--all", "shows_all", is_flag=True, help="Every row of the answer.")
@click.pass_context
def demo(context: click.Context, backend: str, seed: int, rate: int, seconds: float, shows_all: bool) -> int:
    """Sensor readings through a backend: what was expected beside what came, and the verdict."""
    if context.invoked_subcommand is not None:
        return 0
    from streamproof_harness.cli.demonstration import show_scenario

    parameters = {"rate": rate, "seconds": seconds}
    return show_scenario("sensors-at-rate", backend, seed, parameters, shows_all=shows_all)


@demo.command("lost-messages")
@click.option("--fix", is_flag=True, help="Acknowledge after the handler instead of before it.")
@click.option("--backend", default="memory", show_default=True, metavar="URL")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--all", "shows_all", is_flag=True, help="Every row of the answer.")
def lost_messages(fix: bool, backend: str, seed: int, shows_all: bool) -> int:
    """A consumer that commits before it handles, and crashes: which readings are lost, and why.

    Exit status 1: the loss is named. With --fix nothing is lost, and it is 0.
    """
    from streamproof_harness.cli.demonstration import show_scenario

    name = "lost-messages-fixed" if fix else "lost-messages"
    return show_scenario(name, backend, seed, {}, shows_all=shows_all)
