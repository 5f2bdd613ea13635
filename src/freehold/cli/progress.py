"""The progress line of commands that act on many messages. Face: imports rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["counter"]


def counter(*, shown: bool = True) -> Progress:
    """Return a progress line on standard error that counts; it disappears at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} {task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
