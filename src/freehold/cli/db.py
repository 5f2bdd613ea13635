"""`freehold db`: the migrations of Freehold and of the services. Face."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import click

from freehold.audit.store import AUDIT, AuditEntry
from freehold.cli.lazy import NamingGroup
from freehold.cli.options import actor, asynchronous, json_option, reason_option, service_option
from freehold.cli.output import answer_json, line, note, table
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess
from freehold.clock import SystemClock
from freehold.database import Defect
from freehold.errors import ConfigurationError, FreeholdError
from freehold.settings import DEFAULT_DIRECTORY

__all__ = ["command"]


@click.group("db", cls=NamingGroup, help="Show and apply schema migrations.")
def command() -> None:
    """Hold the subcommands."""


@command.command(
    help="Apply missing migrations, prepare read models and views, and repair what can be repaired without loss of"
    " data; exit code 1 if something remains to be restored. Several processes may run it at once."
)
@service_option
@json_option
@asynchronous
async def upgrade(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Upgrade each database to the newest schema, with the first generations of projections and the materialized views
    of the services that a module declares. A failure does not stop the others. A lost table that held data is not made
    again empty.
    """
    await asyncio.to_thread(Path(DEFAULT_DIRECTORY).mkdir, parents=True, exist_ok=True)
    return await _each(project, names, apply=True, as_json=as_json)


@command.command(
    help="List what `upgrade` would apply and make, and where the schema differs from the migrations, with the fix;"
    " exit code 1 if there is anything."
)
@service_option
@json_option
@asynchronous
async def status(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show what `upgrade` would do."""
    return await _each(project, names, apply=False, as_json=as_json)


@command.command(help="Make SERVICE the owner of a database that another name owns: after the service was renamed.")
@click.argument("service", metavar="SERVICE")
@click.option("--instead-of", "former", required=True, metavar="NAME", help="The name that owns it now.")
@reason_option
@json_option
@asynchronous
async def mark(project: Project, service: str, former: str, reason: str, *, as_json: bool) -> int:
    """Change the owner of a database. Receipts and positions in topics stay under the old name."""
    async with project.open([service], owned=False) as opened:
        stores = opened.services[0].stores
        async with stores.database.begin() as db_tx:
            await stores.database.mark(db_tx, service, instead_of=former)
            entry = AuditEntry(SystemClock().now(), actor(), "db.mark", service, reason)
            await stores[AUDIT].add(db_tx, entry)
    if as_json:
        answer_json({"service": service, "instead_of": former})
    else:
        line(f"'{service}' owns the database now")
    return 0


@command.command(help="Print the SQL by which a role may run the service, but make no tables.")
@service_option
@click.option("--role", required=True, metavar="NAME", help="The role that the service connects as.")
@click.option("--schema", metavar="NAME", help="The schema of the tables. Default: that of the connection.")
@json_option
@asynchronous
async def grants(project: Project, names: tuple[str, ...], *, role: str, schema: str | None, as_json: bool) -> int:
    """Print statements that the owner of the tables runs after `upgrade`; nothing is changed."""
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


@command.command(help="Print the SQL that makes a service's database: tables, functions, and the record of both.")
@service_option
@click.option("--port", metavar="NAME", help="Only the tables and functions of one port (outbox, inbox, …), to read.")
@json_option
@asynchronous
async def sql(project: Project, names: tuple[str, ...], *, port: str | None, as_json: bool) -> int:
    """Print what `upgrade` does in an empty database, to deploy it by another tool. Opens no connection."""
    from freehold.runtime.patterns import stores_of
    from freehold.settings import Settings

    selected = project.select(names)
    if len(selected) > 1:
        several = ", ".join(service.name for service in selected)
        raise ConfigurationError(
            f"a script is for one database, and there are several services: {several}", hint="choose one with --service"
        )
    (service,) = selected
    script = stores_of(service, Settings.load(service.name)).database.script(service.name, port)
    if as_json:
        answer_json({"service": service.name, "sql": script})
    else:
        click.echo(script, nl=False)
    return 0


@dataclass(slots=True)
class _State:
    """What was done, or would be done, and the remaining defects, by service."""

    steps: dict[str, list[str]] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)
    repaired: dict[str, list[str]] = field(default_factory=dict)
    defects: dict[str, list[Defect]] = field(default_factory=dict)


async def _each(project: Project, names: tuple[str, ...], *, apply: bool, as_json: bool) -> int:
    state = _State()
    async with project.open(names, migrated=False) as opened:
        for access in opened.services:
            try:
                await (_upgrade(access, state) if apply else _inspect(access, state))
            except FreeholdError as error:
                opened.failed[access.name] = error
                note(f"{access.name}: {error}")
    _answer(state, opened, apply=apply, as_json=as_json)
    wrong = any(state.defects.values())
    missing = not apply and (any(state.steps.values()) or any(state.made.values()))
    return opened.code or (1 if missing or wrong else 0)


async def _upgrade(access: ServiceAccess, state: _State) -> None:
    from freehold.runtime.database_schema import defects, prepare, repair
    from freehold.runtime.patterns import patterns_of

    context, patterns = access.context, patterns_of(access.service)
    state.steps[access.name] = await access.stores.database.upgrade(access.name)
    try:
        state.repaired[access.name] = await repair(context, patterns)
    finally:
        state.defects[access.name] = await defects(context, patterns)
    if not any(each.vital for each in state.defects[access.name]):
        state.made[access.name] = await prepare(context, patterns)


async def _inspect(access: ServiceAccess, state: _State) -> None:
    from freehold.runtime.database_schema import defects, unprepared
    from freehold.runtime.patterns import patterns_of

    context, patterns = access.context, patterns_of(access.service)
    pending = state.steps[access.name] = await access.stores.database.pending()
    found = state.defects[access.name] = await defects(context, patterns)
    whole = not pending and not any(each.vital for each in found)
    state.made[access.name] = await unprepared(context, patterns) if whole else []


def _answer(state: _State, opened: OpenedServices, *, apply: bool, as_json: bool) -> None:
    title, second = ("applied", "made") if apply else ("pending", "unmade")
    if as_json:
        document = {title: state.steps, second: state.made, "defects": state.defects, "failed": opened.as_document()}
        answer_json(document | ({"repaired": state.repaired} if apply else {}))
        return
    done = [(name, step) for each in (state.steps, state.made) for name, steps in each.items() for step in steps]
    repaired = [(name, subject) for name, subjects in state.repaired.items() for subject in subjects]
    wrong = [(name, each) for name, found in state.defects.items() for each in found]
    if done or not (repaired or wrong):
        empty = "every database is up to date" if state.steps else "nothing could be done"
        table(title.capitalize(), ("service", "step"), done, empty=empty)
    if repaired:
        table("Repaired", ("service", "what"), repaired, empty="nothing")
    if wrong:
        line("Not as the migrations made it")
        for name, each in wrong:
            line(f"{name}: {each}")
