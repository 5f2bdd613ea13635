"""`freehold saga retry`, `skip`, `compensate` and `abandon`: what a person decides. Face.

A decision goes through the engine in one transaction with its audit row, so the definition must be declared here.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from freehold.audit.store import AUDIT, AuditEntry
from freehold.cli.context import Project, ServiceAccess
from freehold.cli.options import acting, actor, asynchronous, destroying, json_option, service_option
from freehold.cli.output import answer_json, note
from freehold.cli.saga.group import command, holding
from freehold.errors import ConfigurationError
from freehold.saga import SagaEngine
from freehold.saga.exchange import Decided, Decision
from freehold.saga.hooks import Hook, hook_at
from freehold.saga.store import SAGAS, SagaRecord
from freehold.saga.timeline import problem
from freehold.transaction import Transactions

__all__ = ["abandon", "compensate", "retry", "skip"]


@command.command(help="Retry what waits for an operator, or for its backoff.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Only this step.")
@acting
@json_option
@asynchronous
async def retry(
    project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str, *, as_json: bool
) -> int:
    """Decide to try again."""
    return await _decide(project, names, which, Decision.RETRY, reason, step=step, as_json=as_json)


@command.command(help="Treat a step that waits for an operator as done by hand, and continue. Asks, or takes --yes.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Which; needed where several wait.")
@acting
@json_option
@destroying(lambda given: f"Take {given['step'] or 'the step'} of {given['which']} as settled, without asking for it?")
@asynchronous
async def skip(
    project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str, *, as_json: bool
) -> int:
    """Decide that a step is done."""
    return await _decide(project, names, which, Decision.SKIP, reason, step=step, as_json=as_json)


@command.command(help="Start compensation of an instance, or retry its failed compensations. Asks, or takes --yes.")
@click.argument("which")
@service_option
@acting
@json_option
@destroying(lambda given: f"Undo every step of {given['which']}?")
@asynchronous
async def compensate(project: Project, which: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Decide to undo."""
    return await _decide(project, names, which, Decision.COMPENSATE, reason, as_json=as_json)


@command.command(help="End an instance as it stands: nothing more is sent, nothing is undone. Asks, or takes --yes.")
@click.argument("which")
@service_option
@acting
@json_option
@destroying(lambda given: f"Leave {given['which']} as it stands, for good?")
@asynchronous
async def abandon(project: Project, which: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Decide to leave it."""
    return await _decide(project, names, which, Decision.ABANDON, reason, as_json=as_json)


async def _decide(
    project: Project,
    names: tuple[str, ...],
    which: str,
    decision: Decision,
    reason: str,
    *,
    step: str | None = None,
    as_json: bool,
) -> int:
    async with holding(project, names, which) as (access, record):
        if not access.service.sagas:
            raise ConfigurationError(
                f"the sagas of '{access.name}' are not declared here", hint="name the module that does with --app"
            )
        went_on = await _take(access, record, Decided(decision, step, reason))
        async with access.stores.database.begin() as unit:
            now = await access.stores[SAGAS].load(unit, record.id)
    wrong = problem(now)
    if as_json:
        taken = {"service": access.name, "id": record.id, "decision": decision, "status": now.status}
        answer_json({**taken, "problem": wrong or None})
    else:
        note(f"{record.definition} {record.key}: {decision.value}; it is {now.status.value} now")
        if not went_on:
            note(f"the decision is kept, and what follows from it failed: {wrong}")
    return 0 if went_on else 1


async def _take(access: ServiceAccess, record: SagaRecord, decided: Decided) -> bool:
    """Take a decision, and begin what follows from it; false where code of the saga failed there, and is tried again by
    the service, behind the decision.
    """
    transactions, engine = _engine(access)
    entry = AuditEntry(datetime.now(UTC), actor(), f"saga.{decided.decision.value}", str(record.id), decided.reason)
    try:
        async with transactions.begin() as tx:
            await engine.decide(tx, record.id, decided)
            await access.stores[AUDIT].add(tx.unit, entry)
    except Exception as error:
        if hook_at(error).hook is Hook.COMMIT:
            raise
        async with transactions.begin() as tx:
            await engine.on_failure(tx, record.id, error, decided)
            await access.stores[AUDIT].add(tx.unit, entry)
        return False
    return True


def _engine(access: ServiceAccess) -> tuple[Transactions, SagaEngine]:
    context = access.context
    engine = SagaEngine(access.service.sagas, access.stores[SAGAS], context)
    context.offer(SagaEngine, engine)
    return Transactions(context), engine
