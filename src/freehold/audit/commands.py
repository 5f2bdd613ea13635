"""`freehold audit`: the list of operators' actions. Face."""

from __future__ import annotations

from datetime import datetime

import click

from freehold.audit.store import AUDIT
from freehold.cli.options import asynchronous, json_option, limit_option, service_option
from freehold.cli.output import answer_json, table
from freehold.cli.project import Project

__all__ = ["command"]

_COLUMNS = ("service", "at", "actor", "action", "subject", "reason")


@click.command("audit", help="List the actions of operators, with actor and reason; the newest first.")
@service_option
@click.option("--subject", metavar="ID", help="Only actions on this subject.")
@limit_option(50)
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], subject: str | None, limit: int, *, as_json: bool) -> int:
    """List actions."""
    rows: list[tuple[str, datetime, str, str, str, str]] = []
    async with project.open(names) as opened:
        for access, found in await opened.each(lambda access: access.stores[AUDIT].find(subject, limit)):
            rows += [(access.name, each.at, each.actor, each.action, each.subject, each.reason) for each in found]
    rows = sorted(rows, key=lambda row: row[1], reverse=True)[:limit]
    if as_json:
        actions = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        answer_json({"actions": actions, "failed": opened.as_document()})
    else:
        table("Actions", _COLUMNS, rows, empty="none", least=("service", "actor", "at"))
    return opened.code
