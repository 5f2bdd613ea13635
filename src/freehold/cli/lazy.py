"""Groups of commands that import a command when it is called, so that help is shown at once, and that suggest a command
for a misspelt name. Face: imports click.

Projects use them as well: `click.group(cls=LazyGroup, lazy={"run": Lazy("shop.cli", "run", "…")})`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import click

__all__ = ["Lazy", "LazyGroup", "NamingGroup"]


@dataclass(frozen=True, slots=True)
class Lazy:
    """The place of a command, and its line of help, which is shown without importing it."""

    module: str
    attribute: str
    help: str


class NamingGroup(click.Group):
    """A group that suggests similar commands for a name that does not exist; its subgroups do the same."""

    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Fails as wrong usage, with similar names."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            nearest = get_close_matches(name, self.list_commands(ctx), n=2)
            meant = f" Did you mean {' or '.join(repr(each) for each in nearest)}?" if nearest else ""
            ctx.fail(f"No such command {name!r}.{meant}")
        return super().resolve_command(ctx, args)


class LazyGroup(NamingGroup):
    """A group that imports its commands when they are called. They are listed in the order of `lazy`."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None for an unknown name."""
        place = self._lazy.get(cmd_name)
        return None if place is None else self.imported(place)

    @staticmethod
    def imported(place: Lazy) -> click.Command | None:
        """Import the command at a place; None if the object there is not a command."""
        found = getattr(importlib.import_module(place.module), place.attribute)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.help) for name, each in self._lazy.items()])
