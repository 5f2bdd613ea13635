"""`freehold trace`: where a message, all of a key, or all that one cause led to is now, and what it waits for. Face.

It walks over what patterns declare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import ago, answer_json, line, note
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.context import ServiceContext
from freehold.errors import FreeholdError
from freehold.runtime.patterns import patterns_of
from freehold.trace import Traced, TraceQuery

__all__ = ["command"]

_PING_SECONDS: Final = 2.0
_NOT_FOUND: Final = 1


@click.command("trace", help="Show where a message is, by its id, key or correlation id, and what it waits for.")
@click.argument("which", metavar="ID|KEY")
@service_option
@json_option
@asynchronous
async def command(project: Project, which: str, names: tuple[str, ...], *, as_json: bool) -> int:
    """Ask service by service; one that fails does not keep the others."""
    query = TraceQuery(which, note, _broker_problem)
    async with project.open(names) as opened:
        looks = await opened.each(lambda access: _look(access, query))
    found = [each for _, those in looks for each in those]
    if as_json:
        answer_json({"found": found, "failed": opened.as_document()})
    else:
        _tell(found, which)
    return opened.code or (0 if found else _NOT_FOUND)


async def _look(access: ServiceAccess, query: TraceQuery) -> Sequence[Traced]:
    """Everything that a service has of it. A last resort is asked where nothing else was found."""
    declared = [trace for pattern in patterns_of(access.service) for trace in pattern.traces]
    traces = [trace for trace in declared if trace.port in access.stores]
    for last_resort in (False, True):
        asked = [trace for trace in traces if trace.last_resort is last_resort]
        found = [each for trace in asked for each in await trace.find(access.context, query)]
        if found:
            return found
    return []


async def _broker_problem(context: ServiceContext) -> str:
    """Why the broker does not answer; empty where it does."""
    try:
        async with context.asked_broker() as broker:
            await broker.ping(_PING_SECONDS)
    except FreeholdError as error:
        return error.message
    return ""


def _tell(found: Sequence[Traced], which: str) -> None:
    """A paragraph for each: reasons and what is waited for are sentences, for which a table has no room."""
    if not found:
        line(f"nothing is known of {which}")
        note("what was handled longer ago than dedup_window_seconds, and what waits in the broker, is not looked at")
    for each in found:
        attempts = f", attempts: {each.attempts}" if each.attempts else ""
        since = f", {ago(each.since)}" if each.since is not None else ""
        line(f"{each.service}: {each.where}{since}{attempts}", style="bold")
        line(f"  {' '.join(filter(None, (each.type, str(each.id or ''), each.key and f'key {each.key}')))}")
        line(f"  waits for: {each.waits_for}")
        if each.reason:
            line(f"  reason: {each.reason}")
