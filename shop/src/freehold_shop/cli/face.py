"""What a terminal shows of a running shop: one block at the start, one line while it runs. Imports rich."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import DEFAULT_STATE, SERVICE_NAMES
from freehold_shop.supervisor.state import ProcessState, ShopState

__all__ = ["Figures", "block", "status_line"]

_IN_FLIGHT = ("placed", "stock-reserved", "payment-held")


@dataclass(slots=True)
class Figures:
    """The order counts of the status line: how many in each status (None while orders does not answer)."""

    by_status: Mapping[str, int] | None = field(default_factory=dict)
    unanswered: int = 0


def block(shop: Shop, ready_seconds: float) -> Panel:
    """The block at the start: where everything is, and what to try next."""
    state = shop.state()
    count = len(state.processes)
    how = "one process" if state.single_process else f"{count} processes"
    facts = (
        f"{shop.profile} · {shop.checkout} · {len(SERVICE_NAMES)} services in {how} · ready in {ready_seconds:.1f} s"
    )
    return Panel(
        Group(Text(facts, style="dim"), Text(), _places(shop), Text(), _hints(shop)),
        title=Text(" Freehold shop ", style="bold"),
        title_align="left",
        subtitle=Text(" ctrl-c stops ", style="dim"),
        subtitle_align="right",
        border_style="green",
        padding=(1, 2),
        expand=False,
    )


def status_line(state: ShopState, figures: Figures) -> Text:
    """The status line: orders by status, faults that are on, services that restart."""
    line = Text(no_wrap=True, overflow="ellipsis")
    if figures.by_status is None:
        line.append("orders does not answer", style="red")
    else:
        counts = dict(figures.by_status)
        in_flight = sum(counts.pop(status, 0) for status in _IN_FLIGHT)
        line.append(f"{sum(counts.values()) + in_flight} orders", style="bold")
        for status, number in sorted(counts.items(), key=lambda item: -item[1]):
            line.append(f" · {number} {status}", style="red" if status == "cancelled" else "green")
        line.append(f" · {in_flight} in flight", style="yellow" if in_flight else "dim")
    if figures.unanswered:
        line.append(f" · {figures.unanswered} unanswered", style="red")
    waiting = sorted({each.service for each in state.processes if each.state is not ProcessState.READY})
    if waiting:
        line.append(f" · starting: {', '.join(waiting)}", style="yellow")
    if state.faults:
        line.append(f" · broken: {', '.join(state.faults)}", style="bold red")
    return line


def _places(shop: Shop) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(style="dim")
    table.add_row(Text("gateway", style="bold"), f"{shop.gateway_url}/docs", "the entry for customers")
    for name in SERVICE_NAMES:
        if name != "gateway":
            table.add_row(name, f"{shop.urls[name]}/docs")
    table.add_row("providers", f"{shop.provider_url}/ledger/summary", "payment and e-mail doubles, with a ledger")
    table.add_row("state", Text(str(shop.state_directory), style="default"), "databases, logs, ledger")
    return table


def _hints(shop: Shop) -> Table:
    option = "" if shop.state_directory == DEFAULT_STATE.absolute() else f" --state {shop.state_directory}"
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    table.add_row(Text("in another terminal", style="dim"), "")
    table.add_row(f"  shop replay{option} FILE...", "put real orders through it")
    table.add_row(f"  shop break{option} payments-down", f"break it; then shop heal{option}")
    table.add_row(f"  shop faults{option}", "what can be broken")
    table.add_row(f"  shop verify{option}", "do all databases agree?")
    return table
