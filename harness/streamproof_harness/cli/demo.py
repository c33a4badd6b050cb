"""``streamproof demo``."""

import click


@click.group(invoke_without_command=True)
@click.option("--backend", default="memory", show_default=True, metavar="URL")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--rate", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True)
@click.pass_context
def demo(context: click.Context, backend: str, seed: int, rate: int, seconds: float) -> int:
    """Sensor readings through a backend: what was expected beside what came, and the verdict."""
    if context.invoked_subcommand is not None:
        return 0
    from streamproof_harness.demonstration import show_scenario

    return show_scenario("sensors-at-rate", backend, seed, {"rate": rate, "seconds": seconds})


@demo.command("lost-messages")
@click.option("--fix", is_flag=True, help="Acknowledge after the handler instead of before it.")
@click.option("--backend", default="memory", show_default=True, metavar="URL")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def lost_messages(fix: bool, backend: str, seed: int) -> int:
    """A consumer that commits before it handles, and crashes: which readings are lost, and why.

    Exit status 1: the loss is named. With --fix nothing is lost, and it is 0.
    """
    from streamproof_harness.demonstration import show_scenario

    return show_scenario("lost-messages-fixed" if fix else "lost-messages", backend, seed, {})
