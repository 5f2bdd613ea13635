"""`freehold schedule`: list and cancel scheduled messages. Face."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from freehold.audit.store import AUDIT, AuditEntry
from freehold.cli.lazy import NamingGroup
from freehold.cli.options import (
    actor,
    asynchronous,
    confirm_option,
    json_option,
    limit_option,
    reason_option,
    service_option,
)
from freehold.cli.output import answer_json, note, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.errors import Unavailable
from freehold.schedule.store import SCHEDULE
from freehold.trace import until

__all__ = ["command"]


@click.group("schedule", cls=NamingGroup, help="List and cancel scheduled messages.")
def command() -> None:
    """Hold the subcommands."""


@command.command("list", help="Scheduled messages, the next one first.")
@service_option
@click.option("--type", "name", metavar="NAME", help="Only messages of this type.")
@limit_option(100)
@json_option
@asynchronous
async def list_(project: Project, names: tuple[str, ...], name: str | None, limit: int, *, as_json: bool) -> int:
    """List scheduled messages."""
    rows: list[tuple[str, UUID, str, str, datetime]] = []
    async with project.open(names) as opened:
        for access, found in await opened.each(lambda access: access.stores[SCHEDULE].find(name, limit)):
            rows += [(access.name, each.message.id, each.name, each.message.key, each.due_at) for each in found]
    rows = sorted(rows, key=lambda row: row[-1])[:limit]
    if as_json:
        columns = ("service", "id", "type", "key", "due_at")
        scheduled = [dict(zip(columns, row, strict=True)) for row in rows]
        answer_json({"scheduled": scheduled, "failed": opened.as_document()})
    else:
        shown = [(*row[:-1], until(row[-1])) for row in rows]
        columns = ("service", "id", "type", "key", "due")
        table("Scheduled", columns, shown, empty="nothing is scheduled", least=("service", "key"))
    return opened.code


@command.command(help="Cancel a scheduled message; exit code 1 where it was moved already. Asks, or takes --yes.")
@click.argument("message_id", type=click.UUID)
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Cancel message {given['message_id']} for good?")
@asynchronous
async def cancel(project: Project, message_id: UUID, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Cancel, with an audit row in the same transaction."""

    async def cancel_in(access: ServiceAccess) -> bool:
        async with access.stores.database.begin() as db_tx:
            if not await access.stores[SCHEDULE].cancel(db_tx, message_id):
                return False
            entry = AuditEntry(datetime.now(UTC), actor(), "schedule.cancel", str(message_id), reason)
            await access.stores[AUDIT].add(db_tx, entry)
        return True

    async with project.open(names) as opened:
        cancelled = next((access.name for access, done in await opened.each(cancel_in) if done), None)
    if cancelled is None and opened.failed:
        raise Unavailable(f"no message {message_id} is scheduled; {', '.join(opened.failed)} could not be asked")
    if as_json:
        answer_json({"cancelled": cancelled is not None, "service": cancelled, "failed": opened.as_document()})
    elif cancelled:
        note(f"{cancelled}: cancelled")
    else:
        note("not scheduled: it was moved to the outbox already, or was never scheduled")
    return 0 if cancelled else 1
