"""`shop break`, `shop heal`, `shop faults`: faults of a running shop. Imports click and the supervisor's client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from freehold.cli import seconds as seconds_type
from freehold_shop.cli.output import at_state, console, json_option, print_json, state_option
from freehold_shop.supervisor.client import FaultState, attach

__all__ = ["break_", "faults", "heal"]


@click.command("break")
@click.argument("what")
@click.option("--for", "seconds", type=seconds_type(above=True), metavar="SECONDS", help="Heal by itself after.")
@state_option
@json_option
def break_(what: str, seconds: float | None, state: Path, *, as_json: bool) -> None:
    """Begin the fault WHAT in the running shop; `shop faults` lists them."""
    begun = asyncio.run(attach(state).break_(what, seconds=seconds))
    if as_json:
        print_json({"faults": begun})
        return
    for fault in begun:
        click.echo(f"{fault.name}: {fault.description}")
        if fault.lasting and seconds is None:
            click.echo(f"end it with: shop heal {fault.name}{at_state(state)}", err=True)


@click.command()
@click.argument("what", required=False)
@state_option
@json_option
def heal(what: str | None, state: Path, *, as_json: bool) -> None:
    """End the fault WHAT, or all faults."""
    healed = asyncio.run(attach(state).heal(what))
    if as_json:
        print_json({"faults": healed})
        return
    click.echo(f"healed: {', '.join(fault.name for fault in healed)}" if healed else "nothing was broken")


@click.command()
@state_option
@json_option
def faults(state: Path, *, as_json: bool) -> None:
    """List every fault, and whether it is on."""
    states = asyncio.run(attach(state).faults())
    if as_json:
        print_json({"faults": states})
    else:
        _print_table(states)


def _print_table(states: Sequence[FaultState]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("fault", no_wrap=True)
    table.add_column("now", no_wrap=True)
    table.add_column("what it does")
    for state in states:
        table.add_row(state.name, _now(state), state.description, style=None if state.on else "dim")
    console().print(table)


def _now(state: FaultState) -> str:
    match state:
        case FaultState(lasting=False):
            return "once"
        case FaultState(on=True, seconds_left=float() as seconds):
            return f"on, {seconds:.0f} s left"
        case FaultState(on=True):
            return "on"
        case _:
            return "off"
