"""The ``streamproof`` command. Each subcommand lives in its own module and is imported when called."""

import sys
from importlib import import_module

import click

from streamproof import StreamproofError, Unreachable

_COMMANDS = {
    "check": ("check", "Judge a history that was recorded anywhere."),
    "demo": ("demo", "See it work: sensors, or a consumer that loses messages."),
    "doctor": ("servers", "What is installed, which brokers can be had, which settings hold."),
    "down": ("servers", "Stop the brokers that `up` started."),
    "list": ("catalogue", "The scenarios, and what each one shows."),
    "mutants": ("mutants", "Plant defects, and see that the checks find each."),
    "run": ("run", "Run scenarios on one or more backends and judge them."),
    "up": ("servers", "Start real brokers on this machine and print their addresses."),
}

VALID, INVALID, USAGE, ENVIRONMENT, UNKNOWN = range(5)
"""Exit statuses: nothing found, found, input or usage error, no broker, cannot be decided."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"streamproof_harness.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, "list_" if cmd_name == "list" else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="streamproof")
def command() -> None:
    """Which delivery guarantees really hold: run workloads and faults on a log or a broker, record
    what happened, and judge it."""


def main() -> None:
    """The entry point: one clear line for every error, and the exit statuses of a verdict."""
    from streamproof_harness.history import HistoryError
    from streamproof_harness.logs import log_to_stderr
    from streamproof_harness.servers import ServerError

    log_to_stderr()
    try:
        status = command.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE if error.exit_code == 1 else error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(USAGE)
    except (ServerError, Unreachable) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(ENVIRONMENT)
    except (HistoryError, StreamproofError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(USAGE)
    sys.exit(status if isinstance(status, int) else VALID)
