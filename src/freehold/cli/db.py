"""`freehold db`: Freehold's own and the services' migrations. Face."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from freehold.audit.store import AuditEntry
from freehold.cli.context import Opened, Project
from freehold.cli.lazy import NamingGroup
from freehold.cli.options import acting, actor, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, line, note, table
from freehold.clock import SystemClock
from freehold.errors import FreeholdError
from freehold.settings import DEFAULT_DIRECTORY

__all__ = ["command"]


@click.group("db", cls=NamingGroup, help="Show and apply schema migrations.")
def command() -> None:
    """Hold the subcommands."""


@command.command(
    help="Apply the migrations that are missing, and make what run time needs; safe from several processes at once."
)
@service_option
@json_option
@asynchronous
async def upgrade(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Bring each database to the newest schema, with the first generations of projections and the materialised views
    of the services that a module declares; one that fails does not keep the others.
    """
    await asyncio.to_thread(Path(DEFAULT_DIRECTORY).mkdir, parents=True, exist_ok=True)
    return await _each(project, names, apply=True, as_json=as_json)


@command.command(help="List what `upgrade` would apply and make; exit code 1 where there is something.")
@service_option
@json_option
@asynchronous
async def status(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Say what `upgrade` would do."""
    return await _each(project, names, apply=False, as_json=as_json)


@command.command(help="Say that SERVICE is what another name stands for in the database: after a rename.")
@click.argument("service", metavar="SERVICE")
@click.option("--instead-of", "former", required=True, metavar="NAME", help="The name it is marked with.")
@acting
@json_option
@asynchronous
async def mark(project: Project, service: str, former: str, reason: str, *, as_json: bool) -> int:
    """Mark a database anew. Receipts and places in topics stay under the old name."""
    async with project.open([service], owned=False) as opened:
        stores = opened.services[0].stores
        async with stores.database.begin() as unit:
            await stores.database.mark(unit, service, instead_of=former)
            entry = AuditEntry(SystemClock().now(), actor(), "db.mark", service, reason)
            await stores.audit.add(unit, entry)
    if as_json:
        answer_json({"service": service, "instead_of": former})
    else:
        line(f"the database is that of '{service}' now")
    return 0


@command.command(help="Print the SQL that lets a role run the service, and make no tables.")
@service_option
@click.option("--role", required=True, metavar="NAME", help="The role that the service connects as.")
@click.option("--schema", metavar="NAME", help="The schema of the tables, where it is not that of the connection.")
@json_option
@asynchronous
async def grants(project: Project, names: tuple[str, ...], *, role: str, schema: str | None, as_json: bool) -> int:
    """Print statements for the owner of the tables, to be run after `upgrade`; nothing is changed."""
    answers: dict[str, list[str]] = {}
    async with project.open(names, migrated=False) as opened:
        for access in opened.services:
            try:
                answers[access.name] = await access.stores.database.grants(role, schema)
            except FreeholdError as error:
                opened.failed[access.name] = error
                note(f"{access.name}: {error}")
    if as_json:
        answer_json({"grants": answers, "failed": opened.as_document()})
        return opened.code
    for name, statements in answers.items():
        if len(answers) > 1:
            line(f"-- {name}")
        for statement in statements:
            line(f"{statement};")
    return opened.code


async def _each(project: Project, names: tuple[str, ...], *, apply: bool, as_json: bool) -> int:
    from freehold.runtime.preparation import prepare, unprepared

    answers: dict[str, list[str]] = {}
    made: dict[str, list[str]] = {}
    async with project.open(names, migrated=False) as opened:
        for access in opened.services:
            service, stores = access.service, access.stores
            try:
                if apply:
                    answers[access.name] = await stores.database.upgrade(access.name)
                    made[access.name] = await prepare(service, stores)
                else:
                    answers[access.name] = await stores.database.pending()
                    made[access.name] = await unprepared(service, stores) if not answers[access.name] else []
            except FreeholdError as error:
                opened.failed[access.name] = error
                note(f"{access.name}: {error}")
    _answer(answers, made, opened, apply=apply, as_json=as_json)
    missing = not apply and (any(answers.values()) or any(made.values()))
    return opened.code or (1 if missing else 0)


def _answer(
    answers: dict[str, list[str]], made: dict[str, list[str]], opened: Opened, *, apply: bool, as_json: bool
) -> None:
    title, second = ("applied", "made") if apply else ("pending", "unmade")
    if as_json:
        answer_json({title: answers, second: made, "failed": opened.as_document()})
        return
    rows = [(name, step) for each in (answers, made) for name, steps in each.items() for step in steps]
    empty = "every database is up to date" if answers else "nothing could be done"
    table(title.capitalize(), ("service", "step"), rows, empty=empty)
