"""`freehold outbox resend`: send again what the broker confirmed and then lost. Face."""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from freehold.cli.options import SINCE, actor, asynchronous, json_option, reason_option, service_option
from freehold.cli.output import answer_json, duration, note, note_on_interrupt, table
from freehold.cli.progress import counter
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess
from freehold.errors import ConfigurationError
from freehold.outbox.operations import Resend, ResendPlan, Resent

__all__ = ["command"]


@click.command(
    "resend",
    help="Send again what the broker confirmed and then lost. Consumers discard what they have handled by its receipts."
    " Without --since, everything that is kept (outbox_sent_retention_seconds).",
)
@click.option(
    "--since", type=SINCE, metavar="TIME", help="Only what was confirmed since: 90s, 30m, 2h, 3d or a timestamp."
)
@click.option(
    "--acknowledge",
    is_flag=True,
    help="End doctor's finding also where not all messages are kept: the others are given up.",
)
@service_option
@reason_option
@json_option
@asynchronous
async def command(
    project: Project,
    *,
    since: datetime | None,
    acknowledge: bool,
    names: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> int:
    """Resend service by service; a failing service does not stop the others. Exit code 1 where a loss stays open."""
    done: list[Resent] = []
    moved = 0
    async with project.open(names) as opened:
        with (
            note_on_interrupt(lambda: f"{moved} messages were put back into the outbox; run it again for the rest"),
            counter() as progress,
        ):
            task = progress.add_task("sent again", total=None)

            def count_moved(count: int) -> None:
                nonlocal moved
                moved += count
                progress.advance(task, count)

            # `since` is checked in all services before anything is moved in one.
            for access, resend, plan in await _planned(opened, since):
                async with opened.catching(access):
                    done.append(
                        await resend.run(plan, actor=actor(), reason=reason, acknowledge=acknowledge, moved=count_moved)
                    )
    if as_json:
        answer_json({"services": done, "failed": opened.as_document()})
    else:
        _tell(done)
    return opened.code or (1 if any(each.losses_open for each in done) else 0)


async def _planned(opened: OpenedServices, since: datetime | None) -> list[tuple[ServiceAccess, Resend, ResendPlan]]:
    found: list[tuple[ServiceAccess, Resend, ResendPlan]] = []

    async def plan(access: ServiceAccess) -> None:
        async with opened.catching(access, but=(ConfigurationError,)):
            resend = Resend(access.context)
            found.append((access, resend, await resend.plan(since)))

    await asyncio.gather(*(plan(access) for access in opened.services))
    return sorted(found, key=lambda each: each[0].name)


def _tell(done: list[Resent]) -> None:
    rows = [
        (each.service, each.sent_again, each.since if each.sent_again else None, each.not_kept_before) for each in done
    ]
    table("Sent again", ("service", "messages", "confirmed since", "not kept before"), rows, empty="no service")
    for each in done:
        if not each.retention_seconds:
            note(f"{each.service} keeps no confirmed messages (outbox_sent_retention_seconds is 0)")
        else:
            note(f"{each.service} keeps confirmed messages for {duration(each.retention_seconds)}")
    for each in done:
        if each.losses_open:
            note(f"{each.service}: the loss is still open; --acknowledge ends it, and gives up what is not kept")
    if not done:
        return
    note(
        "messages that were confirmed before the time in the last column, and not handled when the broker lost them,"
        " cannot be restored; their number is unknown"
    )
