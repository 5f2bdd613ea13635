"""The command `shop` and its subcommands. Each is imported when it is called; here only click is.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or input, 3 something cannot be reached.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from freehold.cli.lazy import Lazy, LazyGroup

__all__ = ["cli", "main"]

_COMMANDS: Mapping[str, Lazy] = {
    "run": Lazy("freehold_shop.cli.run", "run", "Run the shop, and keep orders coming."),
    "replay": Lazy("freehold_shop.cli.replay", "replay", "Put real orders from CSV files through the shop."),
    "verify": Lazy("freehold_shop.cli.verify", "verify", "Check that all databases and the ledger agree."),
    "break": Lazy("freehold_shop.cli.breaking", "break_", "Begin a fault in the running shop."),
    "heal": Lazy("freehold_shop.cli.breaking", "heal", "End a fault, or all."),
    "faults": Lazy("freehold_shop.cli.breaking", "faults", "List the faults, and which are on."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
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
