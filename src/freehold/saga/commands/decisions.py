"""`freehold saga retry`, `skip`, `compensate` and `terminate`: decisions of an operator. Face.

The engine applies a decision in one transaction with its audit row, so the definition must be declared here.
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


@command.command(help="Retry the steps that wait for an operator or for their backoff, and a failing hook.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Only this step.")
@reason_option
@json_option
@asynchronous
async def retry(
    project: Project, which: str, names: tuple[str, ...], step: str | None, reason: str, *, as_json: bool
) -> int:
    """Decide to retry."""
    return await _decide(project, names, which, OperatorAction.RETRY, reason, step=step, as_json=as_json)


@command.command(help="Treat a step that waits for an operator as done by hand, and continue. Asks, or takes --yes.")
@click.argument("which")
@service_option
@click.option("--step", metavar="NAME", help="Only this step; without it, every step that waits.")
@reason_option
@json_option
@confirm_option(lambda given: f"Treat {given['step'] or 'the step'} of {given['which']} as done by hand?")
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
    help="End an instance in its present state: nothing more is sent or compensated. Asks, or takes --yes."
)
@click.argument("which")
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Terminate {given['which']} for good, in its present state?")
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
                f"the sagas of '{access.name}' are not declared here",
                hint="name the module that declares them with --app",
            )
        operations = SagaOperations(access.context)
        continued = await operations.decide(record.id, OperatorDecided(action, step, reason), actor=actor())
        now = await operations.load(record.id)
    found = problem(now)
    if as_json:
        decision = {"service": access.name, "id": record.id, "action": action, "status": now.status}
        answer_json({**decision, "problem": found or None})
    else:
        note(f"{record.definition} {record.key}: {action.value}; its status is {now.status.value} now")
        if not continued:
            note(f"the decision is stored, but what follows from it failed: {found}")
    return 0 if continued else 1
