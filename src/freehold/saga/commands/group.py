"""The group `freehold saga`, and the look-up of an instance by id or key that its commands share. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import click

from freehold.cli.lazy import NamingGroup
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess, named
from freehold.errors import NotFound, Unavailable
from freehold.saga.store import SAGAS, SagaFilter, SagaRecord

__all__ = ["command", "open_owner"]

_AMBIGUOUS_SHOWN = 5


@click.group("saga", cls=NamingGroup, help="List and show sagas, and decide about those that wait for an operator.")
def command() -> None:
    """Hold the subcommands."""


@asynccontextmanager
async def open_owner(
    project: Project, names: tuple[str, ...], which: str
) -> AsyncIterator[tuple[ServiceAccess, SagaRecord]]:
    """Open the services, and yield the instance with the service that orchestrates it."""
    async with project.open(names) as opened:
        access, record = await _find(opened, which)
        async with named(access):
            yield access, record


async def _find(opened: OpenedServices, which: str) -> tuple[ServiceAccess, SagaRecord]:
    """Return the one instance with this id or key. Raises `NotFound`, and `Unavailable` where it was not found and a
    service could not be asked.
    """
    found: list[tuple[ServiceAccess, SagaRecord]] = []
    for access, records in await opened.each(lambda access: _lookup(access, which)):
        found += [(access, record) for record in records]
    if not found and opened.failed:
        raise Unavailable(f"no saga has the id or key '{which}'; {', '.join(opened.failed)} could not be asked")
    if not found:
        raise NotFound(f"no saga has the id or key '{which}'", hint="freehold saga list")
    if len(found) > 1:
        ids = ", ".join(str(record.id) for _, record in found[:_AMBIGUOUS_SHOWN])
        raise NotFound(f"'{which}' names {len(found)} sagas", hint=f"use an id: {ids}")
    return found[0]


async def _lookup(access: ServiceAccess, which: str) -> list[SagaRecord]:
    by_key = list(await access.stores[SAGAS].find(SagaFilter(key=which)))
    try:
        saga_id = UUID(which)
    except ValueError:
        return by_key
    by_id = await access.stores[SAGAS].find(SagaFilter(id=saga_id))
    return [*by_id, *(record for record in by_key if record.id != saga_id)]
