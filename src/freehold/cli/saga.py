"""`freehold saga`: instances, their story, and people's decisions. Face.

A decision goes through the engine in one transaction with its audit row: `retry` repeats what waits, `skip` takes a
step as
settled by hand, `compensate` turns round, `abandon` ends an instance as it stands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from freehold.audit.store import AuditEntry
from freehold.cli.context import Project, ServiceAccess, acting, actor, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, console, note, table
from freehold.clock import HybridLogicalClock, SystemClock
from freehold.errors import ConfigurationError, NotFound
from freehold.saga import SagaEngine
from freehold.saga.diagram import mermaid
from freehold.saga.store import SagaFilter, SagaRecord, SagaStatus
from freehold.saga.timeline import sequence, timeline
from freehold.transaction import Post

__all__ = ["command"]

_COLUMNS = ("service", "id", "definition", "version", "key", "status", "failure", "updated_at")


@click.group("saga", help="List and show sagas, and decide for those that wait for a person.")
def command() -> None:
    """Hold the subcommands."""


@command.command("list", help="Instances, the newest first.")
@service_option
@click.option("--status", type=click.Choice([each.value for each in SagaStatus]))
@click.option("--definition", metavar="NAME", help="Only instances of this saga.")
@click.option("--key", metavar="KEY", help="Only instances of this key, an order's id for example.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@asynchronous
async def list_(
    project: Project,
    names: tuple[str, ...],
    status: str | None,
    definition: str | None,
    key: str | None,
    limit: int,
    *,
    as_json: bool,
) -> int:
    """List instances."""
    wanted = SagaFilter(definition=definition, status=SagaStatus(status) if status else None, key=key, limit=limit)
    rows: list[tuple[object, ...]] = []
    async with project.open(names) as services:
        for access in services:
            rows += [_row(access, record) for record in await access.stores.sagas.find(wanted)]
    if as_json:
        answer_json({"sagas": [dict(zip(_COLUMNS, row, strict=True)) for row in rows]})
    else:
        table("Sagas", _COLUMNS, rows, empty="none")
    return 0


@command.command(help="The story of one instance, by its id or its key.")
@click.argument("which")
@service_option
@click.option("--mermaid", "as_mermaid", is_flag=True, help="As a Mermaid sequence diagram.")
@json_option
@asynchronous
async def show(project: Project, which: str, names: tuple[str, ...], *, as_mermaid: bool, as_json: bool) -> int:
    """Show the journal."""
    async with project.open(names) as services:
        access, record = await _find(services, which)
        entries = await access.stores.sagas.journal(record.id)
    if as_json:
        instance = dict(zip(_COLUMNS, _row(access, record), strict=True))
        answer_json({**instance, "correlation_id": record.correlation_id, "journal": list(entries)})
    elif as_mermaid:
        click.echo(sequence(record, entries), nl=False)
    else:
        console.print(timeline(record, entries), markup=False, end="")
    return 0


@command.command(help="A definition as a Mermaid state diagram.")
@click.argument("definition")
@asynchronous
async def diagram(project: Project, definition: str) -> int:
    """Draw the newest version of a declared saga."""
    found = {
        (saga.definition().name, saga.definition().version): saga.definition()
        for service in project.services.values()
        for saga in service.sagas.values()
    }
    versions = [version for name, version in found if name == definition]
    if not versions:
        known = ", ".join(sorted({name for name, _ in found})) or "none"
        raise NotFound(f"no saga '{definition}' is declared", hint=f"declared: {known}")
    click.echo(mermaid(found[definition, max(versions)]), nl=False)
    return 0


@command.command(help="Repeat what waits for a person, or for its backoff.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Only this step.")
@acting
@asynchronous
async def retry(project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str) -> int:
    """Decide to try again."""
    return await _decide(project, names, which, "retry", step, reason)


@command.command(help="Take a step that waits for a person as settled by hand, and go on.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Which; needed where several wait.")
@acting
@asynchronous
async def skip(project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str) -> int:
    """Decide that a step is done."""
    return await _decide(project, names, which, "skip", step, reason)


@command.command(help="Turn an instance round, or repeat its failed compensations. Asks, or takes --yes.")
@click.argument("which")
@service_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@asynchronous
async def compensate(project: Project, which: str, names: tuple[str, ...], reason: str, *, yes: bool) -> int:
    """Decide to undo."""
    if not yes:
        click.confirm(f"Undo every step of {which}?", abort=True, err=True)
    return await _decide(project, names, which, "compensate", None, reason)


@command.command(help="End an instance as it stands: nothing more is sent, nothing is undone. Asks, or takes --yes.")
@click.argument("which")
@service_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@asynchronous
async def abandon(project: Project, which: str, names: tuple[str, ...], reason: str, *, yes: bool) -> int:
    """Decide to leave it."""
    if not yes:
        click.confirm(f"Leave {which} as it stands, for good?", abort=True, err=True)
    return await _decide(project, names, which, "abandon", None, reason)


async def _decide(
    project: Project, names: tuple[str, ...], which: str, decision: str, step: str | None, reason: str
) -> int:
    async with project.open(names) as services:
        access, record = await _find(services, which)
        if not access.service.sagas:
            raise ConfigurationError(
                f"the sagas of '{access.name}' are not declared here", hint="name the module that does with --app"
            )
        post, engine = _engine(access)
        async with post.transaction() as tx:
            match decision:
                case "retry":
                    await engine.retry(tx, record.id, step=step, reason=reason)
                case "skip":
                    await engine.skip(tx, record.id, step=step, reason=reason)
                case "compensate":
                    await engine.compensate(tx, record.id, reason=reason)
                case _:
                    await engine.abandon(tx, record.id, reason=reason)
            entry = AuditEntry(datetime.now(UTC), actor(), f"saga.{decision}", str(record.id), reason)
            await access.stores.audit.add(tx.unit, entry)
    note(f"{record.definition} {record.key}: {decision}")
    return 0


def _engine(access: ServiceAccess) -> tuple[Post, SagaEngine]:
    clock = SystemClock()
    post = Post(
        service=access.name,
        database=access.stores.database,
        outbox=access.stores.outbox,
        schedule=access.stores.schedule,
        clock=clock,
        hlc=HybridLogicalClock(clock),
    )
    return post, SagaEngine(access.service.sagas, access.stores.sagas, post)


async def _find(services: list[ServiceAccess], which: str) -> tuple[ServiceAccess, SagaRecord]:
    found: list[tuple[ServiceAccess, SagaRecord]] = []
    for access in services:
        found += [(access, record) for record in await _lookup(access, which)]
    if not found:
        raise NotFound(f"no saga has the id or key '{which}'", hint="freehold saga list")
    if len(found) > 1:
        ids = ", ".join(str(record.id) for _, record in found[:5])
        raise NotFound(f"'{which}' names {len(found)} sagas", hint=f"use an id: {ids}")
    return found[0]


async def _lookup(access: ServiceAccess, which: str) -> list[SagaRecord]:
    try:
        saga_id = UUID(which)
    except ValueError:
        return list(await access.stores.sagas.find(SagaFilter(key=which)))
    by_key = list(await access.stores.sagas.find(SagaFilter(key=which)))
    try:
        async with access.stores.database.begin() as unit:
            return [await access.stores.sagas.load(unit, saga_id), *by_key]
    except NotFound:
        return by_key


def _row(access: ServiceAccess, record: SagaRecord) -> tuple[object, ...]:
    return (
        access.name,
        record.id,
        record.definition,
        record.definition_version,
        record.key,
        record.status,
        record.failure,
        record.updated_at,
    )
