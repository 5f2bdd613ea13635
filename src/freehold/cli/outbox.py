"""`freehold outbox`: what waits to be published, and what is deferred by consumers. Face."""

from __future__ import annotations

import click

from freehold.cli.context import Project, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, table

__all__ = ["command"]


@click.command("outbox", help="Show what waits to be published, and what consumers try again later.")
@service_option
@click.option(
    "--max-age", "max_age_seconds", type=float, metavar="SECONDS", help="Exit code 1 where something is older."
)
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], max_age_seconds: float | None, *, as_json: bool) -> int:
    """Age of the oldest is the figure to watch: a number that grows means a relay that stands still."""
    answers = []
    async with project.open(names) as services:
        for access in services:
            outbox = await access.stores.outbox.stats()
            deferred = await access.stores.inbox.stats()
            answers.append({"service": access.name, "outbox": outbox, "deferred": deferred})
            late = max_age_seconds is not None and outbox.oldest_seconds > max_age_seconds
            answers[-1]["late"] = late
    if as_json:
        answer_json({"services": answers})
    else:
        columns = ("service", "unsent", "oldest", "blocked keys", "deferred", "oldest")
        rows = [_row(answer) for answer in answers]
        table("Outbox", columns, rows, empty="no service")
    return 1 if any(answer["late"] for answer in answers) else 0


def _row(answer: dict[str, object]) -> tuple[object, ...]:
    from freehold.inbox.store import DeferredStats
    from freehold.outbox.store import OutboxStats

    outbox, deferred = answer["outbox"], answer["deferred"]
    assert isinstance(outbox, OutboxStats) and isinstance(deferred, DeferredStats)  # noqa: PT018, S101 - made above
    return (
        answer["service"],
        outbox.pending,
        duration(outbox.oldest_seconds) if outbox.pending else "-",
        outbox.blocked_keys,
        deferred.pending,
        duration(deferred.oldest_seconds) if deferred.pending else "-",
    )
