"""The command `shop` and its subcommands. Each is imported when it is called; here only click is.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or input, 3 something cannot be reached.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

import click

__all__ = ["cli", "main"]

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("freehold_shop.cli.run", "run"),
    "replay": ("freehold_shop.cli.replay", "replay"),
    "verify": ("freehold_shop.cli.verify", "verify"),
    "break": ("freehold_shop.cli.breaking", "break_"),
    "heal": ("freehold_shop.cli.breaking", "heal"),
    "faults": ("freehold_shop.cli.breaking", "faults"),
}
_HELP: Mapping[str, str] = {
    "run": "Run the shop, and keep orders coming.",
    "replay": "Put real orders from CSV files through the shop.",
    "verify": "Check that all databases and the ledger agree.",
    "break": "Begin a fault in the running shop.",
    "heal": "End a fault, or all.",
    "faults": "List the faults, and which are on.",
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
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A shop of services that each own their database, to run, to feed, to break and to check."""


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
    from freehold.errors import ConfigurationError, FreeholdError, Unavailable

    if not isinstance(error, FreeholdError):
        raise error
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint:  {error.hint}", err=True)
    match error:
        case ConfigurationError():
            return 2
        case Unavailable():
            return 3
        case _:
            return 1


if __name__ == "__main__":
    main()
