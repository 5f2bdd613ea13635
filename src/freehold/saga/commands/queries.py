"""`freehold saga list`, `show` and `diagram`. Face."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from freehold.cli.options import asynchronous, json_option, limit_option, service_option
from freehold.cli.output import ago, answer_json, line, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.errors import CodecError, NotFound
from freehold.saga.commands.group import command, open_owner
from freehold.saga.diagram import mermaid
from freehold.saga.document import read_hook_failure
from freehold.saga.store import SAGAS, TERMINAL_STATUSES, SagaFilter, SagaRecord, SagaStatus
from freehold.saga.timeline import problem, sequence, timeline

__all__ = ["diagram", "list_", "show"]


@command.command("list", help="Instances, the newest first.")
@service_option
@click.option("--status", type=click.Choice([each.value for each in SagaStatus]))
@click.option("--definition", metavar="NAME", help="Only instances of this saga.")
@click.option("--key", metavar="KEY", help="Only instances of this key, an order's id for example.")
@limit_option(50)
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
    found: list[tuple[ServiceAccess, SagaRecord]] = []
    async with project.open(names) as opened:
        for access, records in await opened.each(lambda access: access.stores[SAGAS].find(wanted)):
            found += [(access, record) for record in records]
    found = sorted(found, key=_created_at, reverse=True)[:limit]
    if as_json:
        answer_json({"sagas": [_document(*each) for each in found], "failed": opened.as_document()})
    else:
        columns = ("service", "id", "saga", "key", "status", "failure", "changed", "problem")
        rows = [
            (
                access.name,
                each.id,
                each.definition,
                each.key,
                each.status,
                each.failure,
                ago(each.updated_at),
                problem(each),
            )
            for access, each in found
        ]
        shown = len(columns) if any(row[-1] for row in rows) else -1
        least = ("service", "saga", "changed", "failure")
        table("Sagas", columns[:shown], [row[:shown] for row in rows], empty="none", least=least)
    return opened.code


@command.command(help="Show the journal of one instance, by its id or its key.")
@click.argument("which")
@service_option
@click.option("--mermaid", "as_mermaid", is_flag=True, help="As a Mermaid sequence diagram.")
@json_option
@asynchronous
async def show(project: Project, which: str, names: tuple[str, ...], *, as_mermaid: bool, as_json: bool) -> int:
    """Show the journal."""
    async with open_owner(project, names, which) as (access, record):
        entries = await access.stores[SAGAS].journal(record.id)
    if as_json:
        drawn = {"mermaid": sequence(record, entries)} if as_mermaid else {}
        answer_json({**_document(access, record), "journal": list(entries), **drawn})
    elif as_mermaid:
        click.echo(sequence(record, entries), nl=False)
    else:
        line(timeline(record, entries).rstrip("\n"))
    return 0


@command.command(help="A declared saga as a Mermaid state diagram.")
@click.argument("definition")
@json_option
@asynchronous
async def diagram(project: Project, definition: str, *, as_json: bool) -> int:
    """Draw the newest version."""
    found = {
        (saga.definition().name, saga.definition().version): saga.definition()
        for service in project.services.values()
        for saga in service.sagas.values()
    }
    versions = [version for name, version in found if name == definition]
    if not versions:
        known = ", ".join(sorted({name for name, _ in found})) or "none"
        raise NotFound(f"no saga '{definition}' is declared", hint=f"declared: {known}")
    drawn = mermaid(found[definition, max(versions)])
    if as_json:
        answer_json({"definition": definition, "version": max(versions), "mermaid": drawn})
    else:
        click.echo(drawn, nl=False)
    return 0


def _created_at(found: tuple[ServiceAccess, SagaRecord]) -> datetime:
    return found[1].created_at or datetime.max.replace(tzinfo=UTC)


def _document(access: ServiceAccess, record: SagaRecord) -> dict[str, object]:
    return {
        "service": access.name,
        "id": record.id,
        "definition": record.definition,
        "version": record.definition_version,
        "key": record.key,
        "correlation_id": record.correlation_id,
        "status": record.status,
        "failure": record.failure,
        "problem": problem(record) or None,
        "hook_failure": _hook_failure(record),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _hook_failure(record: SagaRecord) -> dict[str, object] | None:
    try:
        failing = None if record.status in TERMINAL_STATUSES else read_hook_failure(record)
    except CodecError:
        return None
    if failing is None:
        return None
    return {
        "step": failing.step or None,
        "hook": failing.hook,
        "error": failing.error,
        "place": failing.place or None,
        "failures": failing.failures,
        "outages": failing.outages,
        "since": failing.since,
        "next_try_seconds": record.due_seconds,
        "needs_attention": failing.attention,
    }
