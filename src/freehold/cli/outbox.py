"""`freehold outbox`: what waits to be published, and what is deferred by consumers. Face."""

from __future__ import annotations

from dataclasses import dataclass

import click

from freehold.cli.context import Project
from freehold.cli.numbers import seconds
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, note, table
from freehold.inbox.store import DeferredStats
from freehold.outbox.store import OutboxStats

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits in a service. `late`: its oldest unsent message is older than asked for."""

    service: str
    outbox: OutboxStats
    deferred: DeferredStats
    late: bool


@click.command("outbox", help="Show what waits to be published, and what consumers try again later.")
@service_option
@click.option(
    "--max-age",
    "max_age_seconds",
    type=seconds(),
    metavar="SECONDS",
    help="Exit code 1 where the oldest unsent message is older.",
)
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], max_age_seconds: float | None, *, as_json: bool) -> int:
    """Age of the oldest is the figure to watch: a number that grows means a relay that stands still."""
    waiting: list[_Waiting] = []
    async with project.open(names) as opened:
        for access in opened.services:
            outbox = await access.stores.outbox.stats()
            late = max_age_seconds is not None and bool(outbox.pending) and outbox.oldest_seconds > max_age_seconds
            waiting.append(_Waiting(access.name, outbox, await access.stores.inbox.stats(), late))
    if as_json:
        answer_json({"services": waiting, "failed": opened.as_document()})
    else:
        columns = ("service", "unsent", "oldest unsent", "blocked keys", "deferred", "oldest deferred")
        table("Outbox", columns, [_row(each) for each in waiting], empty="no service")
        for each in waiting:
            if each.late:
                note(f"{each.service} has a message that is unsent for {duration(each.outbox.oldest_seconds)}")
    return opened.code or (1 if any(each.late for each in waiting) else 0)


def _row(each: _Waiting) -> tuple[object, ...]:
    return (
        each.service,
        each.outbox.pending,
        duration(each.outbox.oldest_seconds if each.outbox.pending else None),
        each.outbox.blocked_keys,
        each.deferred.pending,
        duration(each.deferred.oldest_seconds if each.deferred.pending else None),
    )
