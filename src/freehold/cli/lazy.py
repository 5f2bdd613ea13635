"""A group of commands that are imported when they are called, so that help is shown at once. Face: imports click.

For the command lines of projects as well: `click.group(cls=LazyGroup, lazy={"run": Lazy("shop.cli", "run", "…")})`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

__all__ = ["Lazy", "LazyGroup"]


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command is, and the line of help that stands for it until it is imported."""

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """Knows its commands by name, in the order in which people need them."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, as they were given."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        place = self._lazy.get(cmd_name)
        if place is None:
            return None
        found = getattr(importlib.import_module(place.module), place.attribute)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.help) for name, each in self._lazy.items()])
