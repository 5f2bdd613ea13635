"""`freehold trace`: finds a message, all messages of a key, or all with one correlation id, and says what each waits
for. Face: iterates over the declarations of patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from freehold.cli.entry import FAILED
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


@click.command("trace", help="Show where a message is, by its id, key or correlation id, and what it waits for.")
@click.argument("which", metavar="ID|KEY")
@service_option
@json_option
@asynchronous
async def command(project: Project, which: str, names: tuple[str, ...], *, as_json: bool) -> int:
    """Search in all services; a failure of one does not affect the others."""
    query = TraceQuery(which, note, _broker_problem)
    async with project.open(names) as opened:
        results = await opened.each(lambda access: _search(access, query))
    found = [each for _, those in results for each in those]
    if as_json:
        answer_json({"found": found, "failed": opened.as_document()})
    else:
        _print(found, which)
    return opened.code or (0 if found else FAILED)


async def _search(access: ServiceAccess, query: TraceQuery) -> Sequence[Traced]:
    """Everything that is found in a service. A last resort is searched only if nothing else was found."""
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


def _print(found: Sequence[Traced], which: str) -> None:
    """Print a paragraph for each: its sentences do not fit into a table."""
    if not found:
        line(f"nothing was found for {which}")
        note("not searched: messages handled longer ago than dedup_window_seconds, and messages that are on the broker")
    for each in found:
        attempts = f", attempts: {each.attempts}" if each.attempts else ""
        since = f", {ago(each.since)}" if each.since is not None else ""
        line(f"{each.service}: {each.where}{since}{attempts}", style="bold")
        line(f"  {' '.join(filter(None, (each.type, str(each.id or ''), each.key and f'key {each.key}')))}")
        line(f"  waits for: {each.waits_for}")
        if each.reason:
            line(f"  reason: {each.reason}")
