"""The group `freehold dlq`, and what its commands share: filters, and the look-up of a dead letter. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import click

from freehold.cli.lazy import NamingGroup
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess, named
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetter
from freehold.errors import NotFound, Unavailable

__all__ = ["command", "filters", "open_owner", "owner"]


@click.group("dlq", cls=NamingGroup, help="List, show, edit, replay and discard dead letters.")
def command() -> None:
    """Hold the subcommands."""


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select dead letters by type, reason and consumer."""
    options = (
        click.option("--type", "type_", metavar="NAME", help="Only messages of this type."),
        click.option(
            "--error-reason", metavar="REASON", help="Only dead letters with this reason, as `list` shows it."
        ),
        click.option("--consumer", metavar="NAME", help="Only dead letters of this consumer."),
    )
    for option in reversed(options):
        function = option(function)
    return function


async def owner(opened: OpenedServices, letter_id: UUID) -> tuple[ServiceAccess, DeadLetter]:
    """Return a dead letter with its service. Raises `NotFound`, and `Unavailable` where it was not found and a service
    could not be asked.
    """

    async def find(access: ServiceAccess) -> DeadLetter | None:
        try:
            return await DeadLetterActions(access.context).get(letter_id)
        except NotFound:
            return None

    for access, letter in await opened.each(find):
        if letter is not None:
            return access, letter
    where = ", ".join(access.name for access in opened.services if access.name not in opened.failed)
    if opened.failed:
        place = f" in {where}" if where else ""
        raise Unavailable(f"no dead letter {letter_id}{place}; {', '.join(opened.failed)} could not be asked")
    raise NotFound(f"there is no dead letter {letter_id} in {where}", hint="freehold dlq list --status any")


@asynccontextmanager
async def open_owner(
    project: Project, names: tuple[str, ...], letter_id: UUID
) -> AsyncIterator[tuple[ServiceAccess, DeadLetter]]:
    """Open the services, and yield the dead letter with its service."""
    async with project.open(names) as opened:
        access, letter = await owner(opened, letter_id)
        async with named(access):
            yield access, letter
