"""The command `freehold` and its subcommands. Face: imports click; each command is imported when it is called.

Exit codes: 0 done, 1 a check failed or an action was refused, 2 wrong usage or input, 3 something cannot be reached.
Standard output holds the answer and nothing else (with `--json`, one document); all else goes to standard error.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

import click

from freehold.cli.context import Project

__all__ = ["cli", "main"]

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "describe": ("freehold.cli.describe", "Show services, messages, handlers, subscriptions and sagas."),
    "doctor": ("freehold.cli.doctor", "Check settings, connections and what the guarantees need of servers."),
    "run": ("freehold.cli.run", "Run services, or some of their loops, until ctrl-c."),
    "db": ("freehold.cli.db", "Show and apply schema migrations."),
    "outbox": ("freehold.cli.outbox", "Show what waits to be published."),
    "dlq": ("freehold.cli.dlq", "List, show, edit, replay and drop dead letters."),
    "saga": ("freehold.cli.saga", "List and show sagas, and decide for those that wait for a person."),
    "schedule": ("freehold.cli.schedule", "List and cancel scheduled messages."),
    "audit": ("freehold.cli.audit", "Show who did what by command, and why."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people need them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _COMMANDS:
            return None
        found = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--app",
    "apps",
    multiple=True,
    envvar="FREEHOLD_APP",
    metavar="MODULE",
    help="Module that declares services; may be repeated. Default: [project] modules in freehold.toml.",
)
@click.pass_context
def cli(ctx: click.Context, apps: tuple[str, ...]) -> None:
    """Your services own their data; this shows and repairs what is between them."""
    ctx.obj = Project(apps)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # noqa: BLE001 - what is not ours is raised again there
        return _complain(error)
    return result if isinstance(result, int) else 0


def _complain(error: Exception) -> int:
    """Say what is wrong and what to do about it; raises what is no error of ours."""
    from freehold.errors import CodecError, ConfigurationError, DeclarationError, FreeholdError, NotFound, Unavailable

    if not isinstance(error, FreeholdError):
        raise error
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint:  {error.hint}", err=True)
    match error:
        case ConfigurationError() | DeclarationError() | NotFound() | CodecError():
            return 2
        case Unavailable():
            return 3
        case _:
            return 1


if __name__ == "__main__":
    main()
