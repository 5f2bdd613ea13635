"""What the commands on sagas share: their group, and finding an instance by its id or its key. Face."""

from __future__ import annotations

from uuid import UUID

import click

from freehold.cli.context import Opened, ServiceAccess
from freehold.cli.lazy import NamingGroup
from freehold.errors import NotFound, Unavailable
from freehold.saga.store import SagaFilter, SagaRecord

__all__ = ["command", "find"]

_AMBIGUOUS_SHOWN = 5


@click.group("saga", cls=NamingGroup, help="List and show sagas, and decide for those that wait for a person.")
def command() -> None:
    """Hold the subcommands."""


async def find(opened: Opened, which: str) -> tuple[ServiceAccess, SagaRecord]:
    """The one instance of that id or key. Raises `NotFound`; `Unavailable` where a service that was not asked may have
    it.
    """
    found: list[tuple[ServiceAccess, SagaRecord]] = []
    for access in opened.services:
        found += [(access, record) for record in await _lookup(access, which)]
    if not found and opened.failed:
        raise Unavailable(f"no saga has the id or key '{which}'; {', '.join(opened.failed)} could not be asked")
    if not found:
        raise NotFound(f"no saga has the id or key '{which}'", hint="freehold saga list")
    if len(found) > 1:
        ids = ", ".join(str(record.id) for _, record in found[:_AMBIGUOUS_SHOWN])
        raise NotFound(f"'{which}' names {len(found)} sagas", hint=f"use an id: {ids}")
    return found[0]


async def _lookup(access: ServiceAccess, which: str) -> list[SagaRecord]:
    by_key = list(await access.stores.sagas.find(SagaFilter(key=which)))
    try:
        saga_id = UUID(which)
        async with access.stores.database.begin() as unit:
            by_id = await access.stores.sagas.load(unit, saga_id)
    except (ValueError, NotFound):
        return by_key
    return [by_id, *(record for record in by_key if record.id != saga_id)]
