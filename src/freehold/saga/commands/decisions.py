"""`freehold saga retry`, `skip`, `compensate` and `terminate`: what an operator decides. Face.

A decision goes through the engine in one transaction with its audit row, so the definition must be declared here.
"""

from __future__ import annotations

import click

from freehold.cli.options import actor, asynchronous, confirm_option, json_option, reason_option, service_option
from freehold.cli.output import answer_json, note
from freehold.cli.project import Project
from freehold.errors import ConfigurationError
from freehold.saga.commands.group import command, open_owner
from freehold.saga.exchange import OperatorAction, OperatorDecided
from freehold.saga.operations import SagaOperations
from freehold.saga.timeline import problem

__all__ = ["compensate", "retry", "skip", "terminate"]


@command.command(help="Retry what waits for an operator, or for its backoff.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Only this step.")
@reason_option
@json_option
@asynchronous
async def retry(
    project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str, *, as_json: bool
) -> int:
    """Decide to try again."""
    return await _decide(project, names, which, OperatorAction.RETRY, reason, step=step, as_json=as_json)


@command.command(help="Treat a step that waits for an operator as done by hand, and continue. Asks, or takes --yes.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Which; needed where several wait.")
@reason_option
@json_option
@confirm_option(lambda its: f"Take {its['step'] or 'the step'} of {its['which']} as settled, without asking for it?")
@asynchronous
async def skip(
    project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str, *, as_json: bool
) -> int:
    """Decide that a step is done."""
    return await _decide(project, names, which, OperatorAction.SKIP, reason, step=step, as_json=as_json)


@command.command(help="Start compensation of an instance, or retry its failed compensations. Asks, or takes --yes.")
@click.argument("which")
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Compensate every step of {given['which']}?")
@asynchronous
async def compensate(project: Project, which: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Decide to compensate."""
    return await _decide(project, names, which, OperatorAction.COMPENSATE, reason, as_json=as_json)


@command.command(
    help="End an instance as it stands: nothing more is sent, nothing is compensated. Asks, or takes --yes."
)
@click.argument("which")
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Terminate {given['which']} as it stands, for good?")
@asynchronous
async def terminate(project: Project, which: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Decide to terminate it."""
    return await _decide(project, names, which, OperatorAction.TERMINATE, reason, as_json=as_json)


async def _decide(
    project: Project,
    names: tuple[str, ...],
    which: str,
    action: OperatorAction,
    reason: str,
    *,
    step: str | None = None,
    as_json: bool,
) -> int:
    async with open_owner(project, names, which) as (access, record):
        if not access.service.sagas:
            raise ConfigurationError(
                f"the sagas of '{access.name}' are not declared here", hint="name the module that does with --app"
            )
        operations = SagaOperations(access.context)
        went_on = await operations.decide(record.id, OperatorDecided(action, step, reason), actor=actor())
        now = await operations.load(record.id)
    wrong = problem(now)
    if as_json:
        taken = {"service": access.name, "id": record.id, "action": action, "status": now.status}
        answer_json({**taken, "problem": wrong or None})
    else:
        note(f"{record.definition} {record.key}: {action.value}; it is {now.status.value} now")
        if not went_on:
            note(f"the decision is kept, and what follows from it failed: {wrong}")
    return 0 if went_on else 1
