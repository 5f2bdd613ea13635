"""`freehold schedule`: messages that are to be sent later. Face."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from freehold.audit.store import AuditEntry
from freehold.cli.context import Project, acting, actor, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, note, table

__all__ = ["command"]


@click.group("schedule", help="List and cancel scheduled messages.")
def command() -> None:
    """Hold the subcommands."""


@command.command("list", help="Scheduled messages, the next one first.")
@service_option
@click.option("--type", "name", metavar="NAME", help="Only messages of this type.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@asynchronous
async def list_(project: Project, names: tuple[str, ...], name: str | None, limit: int, *, as_json: bool) -> int:
    """Say what is due when."""
    rows = []
    async with project.open(names) as services:
        for access in services:
            for each in await access.stores.schedule.find(name, limit):
                rows.append((access.name, each.message.id, each.name, each.message.key, each.due_at))
    columns = ("service", "id", "type", "key", "due_at")
    if as_json:
        answer_json({"scheduled": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        table("Scheduled", columns, rows, empty="nothing is scheduled")
    return 0


@command.command(help="Take a scheduled message back; exit code 1 where it is on its way already.")
@click.argument("message_id", type=click.UUID)
@click.option("--service", "-s", "name", required=True, metavar="NAME")
@acting
@json_option
@asynchronous
async def cancel(project: Project, message_id: UUID, name: str, reason: str, *, as_json: bool) -> int:
    """Cancel, with an audit row in the same transaction."""
    async with project.open([name]) as services:
        stores = services[0].stores
        async with stores.database.begin() as unit:
            cancelled = await stores.schedule.cancel(unit, message_id)
            if cancelled:
                entry = AuditEntry(datetime.now(UTC), actor(), "schedule.cancel", str(message_id), reason)
                await stores.audit.add(unit, entry)
    if as_json:
        answer_json({"cancelled": cancelled})
    else:
        note("cancelled" if cancelled else "not there (any more): it is on its way, or was never scheduled")
    return 0 if cancelled else 1
