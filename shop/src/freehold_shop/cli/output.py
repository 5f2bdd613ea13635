"""What the commands share: options, and JSON on standard output. Imports click and msgspec."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["at_state", "console", "json_option", "print_json", "state_option"]

F = TypeVar("F", bound=Callable[..., Any])

# Written out here so that a command that only attaches need not import the supervisor's plan.
_DEFAULT_STATE = ".freehold/shop"
_PIPE_WIDTH = 10_000


def state_option(command: F) -> F:
    """The option `--state DIR`: where the shop keeps everything."""
    return click.option(
        "--state",
        "state",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(_DEFAULT_STATE),
        show_default=True,
        help="Directory of the shop's databases, logs and sockets.",
    )(command)


def at_state(state: Path) -> str:
    """The `--state` of a command that is printed for copying; empty for the default directory."""
    return "" if state == Path(_DEFAULT_STATE) else f" --state {shlex.quote(str(state))}"


def json_option(command: F) -> F:
    """The option `--json`: one document on standard output, all else on standard error."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(command)


def print_json(document: object) -> None:
    """Print one document."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def console() -> Console:
    """A console on standard output. Into a pipe nothing is wrapped, so that `grep` finds whole lines."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
