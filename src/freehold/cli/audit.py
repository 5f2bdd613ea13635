"""`freehold audit`: who did what by command, and why. Face."""

from __future__ import annotations

import click

from freehold.cli.context import Project, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, table

__all__ = ["command"]


@click.command("audit", help="Show who did what by command, and why; the newest first.")
@service_option
@click.option("--subject", metavar="ID", help="Only what was done to this.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], subject: str | None, limit: int, *, as_json: bool) -> int:
    """List actions."""
    rows = []
    async with project.open(names) as services:
        for access in services:
            for each in await access.stores.audit.find(subject, limit):
                rows.append((access.name, each.at, each.actor, each.action, each.subject, each.reason))
    columns = ("service", "at", "actor", "action", "subject", "reason")
    if as_json:
        answer_json({"actions": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        table("Actions", columns, rows, empty="nobody did anything")
    return 0
