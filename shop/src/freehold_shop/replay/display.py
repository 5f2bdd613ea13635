"""What a terminal shows of a replay: a progress bar on standard error, a summary on standard output. Imports rich."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from freehold_shop.replay.run import Replay
from freehold_shop.replay.session import Interrupted, Outcome
from freehold_shop.replay.summary import Summary
from freehold_shop.verify.model import Verification

__all__ = ["ProgressBar", "print_checks", "print_outcome"]


class ProgressBar:
    """A progress bar by the bytes read from the files; hidden where standard error is no terminal."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
            transient=True,
        )
        self._bytes = sum(file.stat().st_size for file in files if file.is_file())
        self._task = self._progress.add_task("starting the shop", total=None, counts="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def began(self) -> None:
        """Show that the shop has started."""
        self._progress.update(self._task, description="replaying", total=self._bytes or None)

    def moved(self, run: Replay) -> None:
        """Show the new counts."""
        tally = run.tally
        counts = f"{tally.orders_placed} placed, {tally.confirmed} confirmed, {tally.cancelled.total()} cancelled"
        self._progress.update(self._task, completed=run.feed.counts.bytes_read, counts=counts)

    def verifying(self) -> None:
        """Show that the verification has begun."""
        self._progress.update(self._task, description="verifying", total=None)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print the summary as text."""
    summary = outcome.summary
    console.print(_figures(summary, outcome))
    print_checks(console, summary.verify, all_of_them=False, interrupted=isinstance(outcome.error, Interrupted))
    if outcome.kept is not None:
        console.print(f"[dim]state directory kept for inspection: {outcome.kept}[/dim]")


def print_checks(console: Console, verification: Verification, *, all_of_them: bool, interrupted: bool = False) -> None:
    """Print the checks: all, or only those that fail, with a summary line."""
    for check in verification.checks:
        if all_of_them or not check.ok:
            mark = Text("✓ ", "green") if check.ok else Text("✗ ", "bold red")
            console.print(Text.assemble(mark, (check.name, "" if check.ok else "bold"), "  ", (check.detail, "dim")))
    count = len(verification.checks)
    if verification.ok:
        console.print(Text.assemble(("✓ ", "green"), f"verified: all {count} checks hold"))
    elif not count and interrupted:
        console.print(Text.assemble(("✗ ", "bold red"), "not verified: the replay was interrupted"))
    elif not count:
        console.print(Text.assemble(("✗ ", "bold red"), "not verified: the shop could not be read"))
    else:
        failed = sum(not check.ok for check in verification.checks)
        console.print(Text.assemble(("✗ ", "bold red"), f"{failed} of {count} checks fail"))


def _figures(summary: Summary, outcome: Outcome) -> Table:
    latency = summary.latency_seconds
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_row("rows", f"{summary.rows_read:,} in {summary.files} file{'s' if summary.files != 1 else ''}")
    if outcome.rows_rejected:
        table.add_row("rejected", f"{outcome.rows_rejected:,}: {_counts(summary.rows_rejected)}")
        table.add_row("", f"[dim]written to {outcome.rejects}[/dim]")
    table.add_row("placed", f"{summary.orders_placed:,} orders")
    table.add_row("confirmed", f"{summary.confirmed:,}")
    if summary.cancelled:
        table.add_row("cancelled", f"{sum(summary.cancelled.values()):,}: {_counts(summary.cancelled)}")
    table.add_row("returned", f"{summary.returned:,} returns")
    if summary.in_flight:
        table.add_row("in flight", f"[bold red]{summary.in_flight:,}[/bold red]")
    table.add_row("took", f"{summary.duration_seconds:,.1f} s, {summary.orders_per_second:,.1f} orders/s")
    if latency.p50 is not None:
        table.add_row("latency", f"p50 {latency.p50:.2f} s, p95 {latency.p95:.2f} s, p99 {latency.p99:.2f} s")
    return table


def _counts(by_reason: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in by_reason.items())
