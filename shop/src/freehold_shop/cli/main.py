"""The command `shop` and its subcommands. Each is imported when it is called; this module imports only click.

Exit codes are those of `freehold`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from freehold.cli import Lazy, LazyGroup, run_command_line

__all__ = ["cli", "main"]

_COMMANDS: Mapping[str, Lazy] = {
    "run": Lazy("freehold_shop.cli.run", "run", "Run the shop, and keep orders coming."),
    "replay": Lazy("freehold_shop.cli.replay", "replay", "Put real orders from CSV files through the shop."),
    "verify": Lazy("freehold_shop.cli.verify", "verify", "Check that all databases and the ledger agree."),
    "break": Lazy("freehold_shop.cli.faults", "break_", "Begin a fault in the running shop."),
    "heal": Lazy("freehold_shop.cli.faults", "heal", "End a fault, or all."),
    "faults": Lazy("freehold_shop.cli.faults", "faults", "List the faults, and which are on."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="freehold-shop", message="%(prog)s %(version)s")
def cli() -> None:
    """Run, feed, break and verify a shop of services that each own their database."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_command_line(cli, "shop", arguments))


if __name__ == "__main__":
    main()
