"""`shop verify`: prove that the data of all services agree. Imports click, the verification, the client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec

from freehold.cli import seconds
from freehold_shop.cli.output import console
from freehold_shop.replay.display import print_checks
from freehold_shop.supervisor.client import attach
from freehold_shop.supervisor.plan import DEFAULT_STATE
from freehold_shop.verify.run import Target
from freehold_shop.verify.run import verify as verify_shop

__all__ = ["verify"]


@click.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STATE,
    show_default=True,
    help="The state directory of the shop.",
)
@click.option(
    "--wait",
    type=seconds(),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the shop is quiet.",
)
def verify(*, as_json: bool, state: Path, wait: float) -> int:
    """Compare all databases of the running shop with each other and with the providers' ledger.

    Changes nothing. Where orders keep coming, only what was complete before is compared. The exit code is 0 where
    every check holds.
    """
    shop = attach(state)
    target = Target(shop.databases, shop.broker_url, shop.provider_url)
    verified = asyncio.run(verify_shop(target, wait_seconds=wait))
    if not verified.quietness.quiet:
        click.echo(
            f"the shop was not quiet within {wait:g} s: {verified.quietness.words or 'orders keep coming'}; "
            "the checks leave out what was not complete",
            err=True,
        )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verified.verification), indent=2))
    else:
        print_checks(console(), verified.verification, all_of_them=True)
    return 0 if verified.verification.ok else 1
