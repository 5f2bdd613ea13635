"""The group of the commands on projections, and the look-up of the service that has a projection or a replay. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import click

from freehold.cli.lazy import NamingGroup
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess, named
from freehold.errors import NotFound, Unavailable
from freehold.projection.operations import ProjectionOperations
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS

__all__ = ["actions_of", "command", "open_owner", "open_replay_owner"]


@click.group("projection", cls=NamingGroup, help="Show, rebuild and repair read models; replay events; refresh views.")
def command() -> None:
    """Hold the subcommands."""


def actions_of(access: ServiceAccess) -> ProjectionOperations:
    """The operator's actions on a service's projections."""
    return ProjectionOperations(access.context)


@asynccontextmanager
async def open_owner(project: Project, names: tuple[str, ...], name: str) -> AsyncIterator[ProjectionOperations]:
    """Open the services, and yield the actions of the one that has a projection or a view, declared or stored.

    Raises `NotFound`; `Unavailable` if it is not found and a service could not be asked.
    """

    async def has(access: ServiceAccess) -> bool:
        if name in access.service.projections or name in access.service.materialized_views:
            return True
        return bool(await access.stores[CHECKPOINTS].generations(name))

    async with _open_one(project, names, has, f"projection or view '{name}'", "freehold projection list") as actions:
        yield actions


@asynccontextmanager
async def open_replay_owner(
    project: Project, names: tuple[str, ...], number: int
) -> AsyncIterator[ProjectionOperations]:
    """Open the services, and yield the actions of the one that has a replay. Raises as `open_owner`."""

    async def has(access: ServiceAccess) -> bool:
        try:
            await access.stores[REPLAYS].get(number)
        except NotFound:
            return False
        return True

    async with _open_one(project, names, has, f"replay {number}", "freehold projection replay list") as actions:
        yield actions


@asynccontextmanager
async def _open_one(
    project: Project, names: tuple[str, ...], has: Callable[[ServiceAccess], Awaitable[bool]], what: str, hint: str
) -> AsyncIterator[ProjectionOperations]:
    async with project.open(names) as opened:
        found = [access for access, known in await opened.each(has) if known]
        if not found and opened.failed:
            raise Unavailable(f"no service has the {what}; {', '.join(opened.failed)} could not be asked")
        if not found:
            raise NotFound(f"no service has the {what}", hint=hint)
        if len(found) > 1:
            several = ", ".join(access.name for access in found)
            raise NotFound(f"several services have the {what}: {several}", hint="say which with --service")
        async with named(found[0]):
            yield actions_of(found[0])
