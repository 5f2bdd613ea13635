"""`freehold snapshots`: the stored states from which aggregates are loaded. Face.

They are a cache. Only an operator knows that a kind is not used any more: the repositories of a service are objects in
its code, perhaps in another program than this one.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from freehold.aggregate.store import SNAPSHOTS, SnapshotKind
from freehold.audit.store import AUDIT, AuditEntry
from freehold.cli.lazy import NamingGroup
from freehold.cli.options import actor, asynchronous, confirm_option, json_option, reason_option, service_option
from freehold.cli.output import ago, answer_json, note, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess

__all__ = ["command"]

_BATCH = 1000


@click.group(
    "snapshots", cls=NamingGroup, help="Show the snapshots of aggregates by kind, and discard those of a kind."
)
def command() -> None:
    """Hold the subcommands."""


@command.command("list", help="List the kinds of snapshots: their number, their size, and when one was saved last.")
@service_option
@json_option
@asynchronous
async def list_(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Count them."""
    found: list[tuple[str, SnapshotKind]] = []
    async with project.open(names) as opened:
        for access, kinds in await opened.each(lambda access: access.stores[SNAPSHOTS].kinds()):
            found += [(access.name, each) for each in kinds]
    if as_json:
        answer_json(
            {
                "snapshots": [
                    {
                        "service": service,
                        "kind": each.kind,
                        "count": each.count,
                        "size_bytes": each.size_bytes,
                        "saved_at": each.saved_at,
                    }
                    for service, each in found
                ],
                "failed": opened.as_document(),
            }
        )
    else:
        rows = [(service, each.kind, each.count, each.size_bytes, ago(each.saved_at)) for service, each in found]
        table("Snapshots", ("service", "kind", "snapshots", "bytes", "last saved"), rows, empty="there are none")
    return opened.code


@command.command(
    help="Discard all snapshots of a kind; its aggregates are folded from their first event when they are loaded next."
    " Exit code 1 if there is none. Asks, or takes --yes."
)
@click.option(
    "--kind", required=True, help="As in the list: the aggregate's category, unless it declares another kind."
)
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Discard all snapshots of kind {given['kind']}?")
@asynchronous
async def discard(project: Project, kind: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Discard them in batches; the audit row is written with the first."""
    async with project.open(names) as opened:
        counts = await opened.each(lambda access: _discard(access, kind, reason))
    done = {access.name: count for access, count in counts if count}
    if as_json:
        answer_json({"kind": kind, "discarded": done, "failed": opened.as_document()})
    for name, count in done.items():
        note(f"{name}: {count} discarded")
    if not done:
        note(f"no snapshots of kind '{kind}'")
    return opened.code or (0 if done else 1)


async def _discard(access: ServiceAccess, kind: str, reason: str) -> int:
    total = 0
    while True:
        async with access.stores.database.begin() as db_tx:
            count = await access.stores[SNAPSHOTS].discard_all(kind, _BATCH, db_tx=db_tx)
            if count and not total:
                entry = AuditEntry(datetime.now(UTC), actor(), "snapshots.discard", kind, reason)
                await access.stores[AUDIT].add(db_tx, entry)
        if not count:
            return total
        total += count
