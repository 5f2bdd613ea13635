"""`shop replay`: put real orders through the shop. Imports click, the replay and the shop's errors."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from freehold import Unavailable
from freehold.cli import INTERRUPTED, seconds
from freehold_shop.cli.output import console
from freehold_shop.replay import session
from freehold_shop.replay.display import ProgressBar, print_outcome
from freehold_shop.replay.session import Interrupted, Outcome, Wanted
from freehold_shop.retail import RetailInputError
from freehold_shop.supervisor.plan import parse_engines, parse_instances

__all__ = ["replay"]

RATE_MAX = 1_000_000.0
_STANDARD_INPUT = Path("-")


def _rate(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    """Orders a second; None for `max`: no limit."""
    if value == "max":
        return None
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate <= RATE_MAX:
        raise click.BadParameter("orders a second, above 0, or max")
    return rate


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--rate", callback=_rate, default="max", show_default=True, metavar="N|max", help="Orders a second.")
@click.option("--checkout", type=click.Choice(["saga", "choreographed"]), help="How orders are processed.")
@click.option("--profile", type=click.Choice(["embedded", "servers"]), help="Profile of a shop started for the replay.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@click.option("--rejects", type=click.Path(path_type=Path), help="Where rejected rows go.  [default: beside the state]")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="The state directory of the shop.")
@click.option(
    "--instances", multiple=True, metavar="SERVICE=N", help="Processes of a service, in a shop started for the replay."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="SERVICE=ENGINE",
    help="Put a service, or all, on postgresql or mariadb, in a shop started with --profile servers; repeatable.",
)
@click.option(
    "--patience",
    type=seconds(1),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a shop that makes no progress.",
)
def replay(
    *,
    files: tuple[Path, ...],
    rate: float | None,
    checkout: str | None,
    profile: str | None,
    as_json: bool,
    rejects: Path | None,
    state: Path | None,
    instances: tuple[str, ...],
    engines: tuple[str, ...],
    patience: float,
) -> int:
    """Put the orders of retail FILEs through the shop, and verify that nothing was lost.

    Uses the running shop, or starts one for the replay. A line of a FILE is an invoice line, an invoice is an order,
    and an invoice number that begins with C is a return. Rows that cannot be part of an order are counted by reason
    and written to the rejects file. FILE - is standard input. The exit code is 0 where every order reached a final
    status and the verification holds; ctrl-c ends the replay early, with the summary of what was done.
    """
    with _readable(files) as named, ProgressBar(named) as bar:
        wanted = Wanted(
            files=named,
            state_directory=state,
            profile=profile,
            checkout=checkout,
            rate_per_second=rate,
            rejects=rejects,
            instances=parse_instances(instances),
            engines=parse_engines(engines),
            patience_seconds=patience,
        )
        outcome = asyncio.run(
            session.replay(wanted, on_shop=lambda _shop: bar.began(), on_progress=bar.moved, on_verify=bar.verifying)
        )
    _print(outcome, as_json=as_json)
    return _exit_code(outcome)


@contextlib.contextmanager
def _readable(files: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """The files, with standard input copied into a file: the headers are checked before anything starts."""
    if files.count(_STANDARD_INPUT) > 1:
        raise click.UsageError("standard input can be given once only")
    if _STANDARD_INPUT not in files:
        yield tuple(files)
        return
    with tempfile.TemporaryDirectory(prefix="shop-replay-") as directory:
        copy = Path(directory) / "standard-input.csv"
        with copy.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield tuple(copy if each == _STANDARD_INPUT else each for each in files)


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcome.summary), indent=2))
        if outcome.rows_rejected:
            click.echo(f"{outcome.rows_rejected} rows rejected, see {outcome.rejects}", err=True)
    else:
        print_outcome(console(), outcome)
    if outcome.error is not None:
        click.echo(f"error: {outcome.error}", err=True)


def _exit_code(outcome: Outcome) -> int:
    match outcome.error:
        case Interrupted():
            return INTERRUPTED
        case RetailInputError():
            return 2
        case Unavailable():
            return 3 if not outcome.summary.verify.checks else 1
        case _:
            return 0 if outcome.summary.ok else 1
