"""`shop run`: start the shop, show where it is, keep orders coming until ctrl-c. Imports the supervisor's client."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import click
from rich.console import Console
from rich.live import Live

from freehold.cli import FiniteRange
from freehold_shop.cli.face import Figures, block, status_line
from freehold_shop.cli.output import json_option, print_json, state_option
from freehold_shop.cli.stream import OrderStream, StreamCounts
from freehold_shop.supervisor.client import Shop, start_shop
from freehold_shop.supervisor.errors import ShopNotRunning
from freehold_shop.supervisor.plan import Checkout, Plan, Profile, parse_engines, parse_instances

__all__ = ["run"]

_STATUS_SECONDS = 1.0
_SUMMARY_SECONDS = 2.0


@click.command()
@click.option("--profile", type=click.Choice([each.value for each in Profile]), default=Profile.EMBEDDED.value)
@click.option("--checkout", type=click.Choice([each.value for each in Checkout]), default=Checkout.SAGA.value)
@click.option("--single-process", is_flag=True, help="All services in one process.")
@click.option("--instances", multiple=True, metavar="SERVICE=N", help="Run N processes of a service; repeatable.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="SERVICE=ENGINE",
    help="Put a service, or all, on postgresql or mariadb, on the servers profile; repeatable.",
)
@click.option(
    "--orders-per-second",
    type=FiniteRange(0, 1_000),
    default=2.0,
    show_default=True,
    help="Sample orders to keep coming; 0 for none.",
)
@state_option
@json_option
def run(
    profile: str,
    checkout: str,
    instances: tuple[str, ...],
    engines: tuple[str, ...],
    orders_per_second: float,
    state: Path,
    *,
    single_process: bool,
    as_json: bool,
) -> None:
    """Run all services, the gateway and the providers' double, and keep orders coming until ctrl-c.

    With --json: one document with all addresses, as soon as the shop is ready.
    """
    plan = Plan(
        state.absolute(),
        profile=Profile(profile),
        checkout=Checkout(checkout),
        single_process=single_process,
        usual_ports=True,
        instances=parse_instances(instances),
        engines=parse_engines(engines),
    )
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(plan, orders_per_second, as_json=as_json))


async def _run(plan: Plan, orders_per_second: float, *, as_json: bool) -> None:
    notes = Console(stderr=True)
    with _stopped_by_signals():
        began = time.monotonic()
        counts = StreamCounts()
        with notes.status("starting the shop …") if notes.is_terminal else contextlib.nullcontext():
            shop = await start_shop(plan)
        try:
            if as_json:
                print_json(_document(shop))
            else:
                _print(shop, time.monotonic() - began)
            await _keep_going(shop, orders_per_second, notes, counts)
        finally:
            took = f"{time.monotonic() - began:.0f} s"
            click.echo(f"{counts.placed} orders placed, {counts.failed} unanswered in {took}", err=True)
            with notes.status("stopping …") if notes.is_terminal else contextlib.nullcontext():
                await shop.stop()


def _print(shop: Shop, seconds: float) -> None:
    """Print the block on a terminal; into a pipe, one line for each address."""
    if sys.stdout.isatty():
        Console().print(block(shop, seconds))
        return
    for name, url in {**shop.urls, "state": shop.state_directory}.items():
        click.echo(f"{name} {url}")


async def _keep_going(shop: Shop, orders_per_second: float, notes: Console, counts: StreamCounts) -> None:
    """Place orders and show the status, until cancelled. Raises `ShopNotRunning` where the supervisor ends."""
    figures = Figures()
    stream = OrderStream(shop.gateway_url, orders_per_second, counts=counts) if orders_per_second > 0 else None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream.run())] if stream is not None else []
        if notes.is_terminal:
            tasks.append(group.create_task(_summarise(shop, figures)))
            tasks.append(group.create_task(_show(shop, figures, stream, notes)))
        await _until_ended(shop)
        for task in tasks:
            task.cancel()
    raise ShopNotRunning("the supervisor has ended", hint=f"see {shop.state_directory / 'logs'}")


async def _until_ended(shop: Shop) -> None:
    while True:
        if not shop.is_alive():
            return
        await asyncio.sleep(_STATUS_SECONDS)


async def _show(shop: Shop, figures: Figures, stream: OrderStream | None, notes: Console) -> None:
    with Live(console=notes, auto_refresh=False, transient=True) as live:
        while True:
            figures.unanswered = stream.counts.failed if stream is not None else 0
            live.update(status_line(shop.state(), figures), refresh=True)
            await asyncio.sleep(_STATUS_SECONDS)


async def _summarise(shop: Shop, figures: Figures) -> None:
    timeout = aiohttp.ClientTimeout(total=_SUMMARY_SECONDS)
    async with aiohttp.ClientSession(shop.gateway_url, timeout=timeout) as session:
        while True:
            figures.by_status = await _by_status(session)
            await asyncio.sleep(_SUMMARY_SECONDS)


async def _by_status(session: aiohttp.ClientSession) -> dict[str, int] | None:
    try:
        async with session.get("/orders/summary") as response:
            rows = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    if rows is None:
        return None
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + int(row["number"])
    return counts


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let the first ctrl-c or SIGTERM cancel this task; later ones do not disturb the stop, which has a time limit."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    seen: list[int] = []

    def stop(number: int) -> None:
        if not seen and task is not None:
            task.cancel()
        seen.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        if not sys.is_finalizing():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)


def _document(shop: Shop) -> dict[str, object]:
    return {
        "pid": shop.supervisor_pid,
        "profile": shop.profile,
        "checkout": shop.checkout,
        "state_directory": str(shop.state_directory),
        "urls": dict(shop.urls),
    }
