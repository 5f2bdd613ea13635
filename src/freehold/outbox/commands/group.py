"""`freehold outbox`: the messages that wait to be published, and those that consumers have deferred. Face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from freehold.cli.lazy import NamingGroup
from freehold.cli.options import asynchronous, json_option, seconds, service_option
from freehold.cli.output import answer_json, duration, note, seconds_of, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.inbox.store import INBOX, DeferredStats
from freehold.outbox.commands.resend import command as resend
from freehold.outbox.store import OUTBOX, OutboxStats

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The waiting messages of a service. `late`: the oldest in the outbox, or the oldest deferred, is too old."""

    service: str
    outbox: OutboxStats
    deferred: DeferredStats
    late: bool


@click.group(
    "outbox",
    cls=NamingGroup,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
    help="Show messages that wait to be published, and those that consumers have deferred.",
)
@service_option
@click.option(
    "--max-lag-seconds",
    "max_lag_seconds",
    type=seconds(),
    metavar="SECONDS",
    help="Exit code 1 where the oldest message in the outbox, or the oldest deferred one, is older.",
)
@json_option
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """List the waiting messages where no subcommand is named."""
    if context.invoked_subcommand is None:
        return _list(**options)
    for name in options:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            # An option of the listing would have no effect on the subcommand.
            place = f"{context.command_path} {context.invoked_subcommand}"
            raise click.UsageError(f"put options after the subcommand: {place} …")
    return 0


@asynchronous
async def _list(project: Project, names: tuple[str, ...], max_lag_seconds: float | None, *, as_json: bool) -> int:
    """The age of the oldest message is the figure to watch: if it grows, the relay is stuck. A database that refuses
    writes may show no waiting message, so with a limit this command also writes to it.
    """
    waiting: list[_Waiting] = []
    async with project.open(names) as opened:
        for access, (outbox, deferred) in await opened.each(_look):
            late = max_lag_seconds is not None and any(
                each.pending and each.oldest_seconds > max_lag_seconds for each in (outbox, deferred)
            )
            waiting.append(_Waiting(access.name, outbox, deferred, late))
        if max_lag_seconds is not None:
            await opened.check_writes()
    if as_json:
        answer_json({"services": waiting, "failed": opened.as_document()})
    else:
        columns = ("service", "outbox", "oldest (s)", "blocked keys", "deferred", "oldest deferred (s)")
        table("Outbox", columns, [_row(each) for each in waiting], empty="no service")
        for each in waiting:
            for state, stats in (("in the outbox", each.outbox), ("deferred", each.deferred)) if each.late else ():
                if stats.pending and stats.oldest_seconds > (max_lag_seconds or 0.0):
                    note(f"{each.service}: a message has been {state} for {duration(stats.oldest_seconds)}")
    return opened.code or (1 if any(each.late for each in waiting) else 0)


async def _look(access: ServiceAccess) -> tuple[OutboxStats, DeferredStats]:
    return await access.stores[OUTBOX].stats(), await access.stores[INBOX].stats()


def _row(each: _Waiting) -> tuple[object, ...]:
    return (
        each.service,
        each.outbox.pending,
        seconds_of(each.outbox.oldest_seconds if each.outbox.pending else None),
        each.outbox.blocked_keys,
        each.deferred.pending,
        seconds_of(each.deferred.oldest_seconds if each.deferred.pending else None),
    )


command.add_command(resend)
