"""What the commands on projections share: their group, and finding the service that has one. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from freehold.cli.lazy import NamingGroup
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess, named
from freehold.errors import NotFound, Unavailable
from freehold.projection.operations import ProjectionOperations
from freehold.projection.store import CHECKPOINTS

__all__ = ["actions_of", "command", "open_owner"]


@click.group("projection", cls=NamingGroup, help="Show, rebuild and repair read models; replay history; refresh views.")
def command() -> None:
    """Hold the subcommands."""


def actions_of(access: ServiceAccess) -> ProjectionOperations:
    """The actions on a service's projections."""
    return ProjectionOperations(access.context)


async def _owner(opened: OpenedServices, name: str) -> ServiceAccess:
    """The one service that has a projection or a view of that name, declared or in its database.

    Raises `NotFound`; `Unavailable` where a service that could not be asked may have it.
    """
    found = [access for access, has in await opened.each(lambda access: _has(access, name)) if has]
    if not found and opened.failed:
        raise Unavailable(f"no service has a projection '{name}'; {', '.join(opened.failed)} could not be asked")
    if not found:
        raise NotFound(f"no service has a projection or a view '{name}'", hint="freehold projection list")
    if len(found) > 1:
        names = ", ".join(access.name for access in found)
        raise NotFound(f"{names}: each has a projection '{name}'", hint="say which with --service")
    return found[0]


@asynccontextmanager
async def open_owner(project: Project, names: tuple[str, ...], name: str) -> AsyncIterator[ProjectionOperations]:
    """Open the services, and give the actions of the one that has a projection."""
    async with project.open(names) as opened:
        access = await _owner(opened, name)
        async with named(access):
            yield actions_of(access)


async def _has(access: ServiceAccess, name: str) -> bool:
    if name in access.service.projections or name in access.service.materialized_views:
        return True
    return bool(await access.stores[CHECKPOINTS].generations(name))
