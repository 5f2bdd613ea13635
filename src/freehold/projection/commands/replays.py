"""`freehold projection replay`: read a time range of events again, into tables of its own or into the live read model.
Face.

`freehold projection replay NAME` begins a replay; `list`, `errors`, `resume`, `cancel` and `drop` manage replays.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Literal

import click

from freehold.cli.options import (
    COUNT,
    POSITION,
    actor,
    asynchronous,
    confirm_option,
    json_option,
    limit_option,
    reason_option,
    service_option,
)
from freehold.cli.output import ago, answer_json, note, table
from freehold.cli.project import Project
from freehold.projection.commands.group import command, open_owner, open_replay_owner
from freehold.projection.commands.progress import made_progress
from freehold.projection.replay import TimeRange
from freehold.projection.replay_operations import ReplayOperations
from freehold.projection.replay_store import REPLAYS, Replay, ReplayState
from freehold.projection.status import COUNT_MAX

__all__ = ["replay"]

_Acts = Callable[..., Coroutine[Any, Any, int]]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]


class _BeginsByName(click.Group):
    """Reads `replay order-summary …` as `replay begin order-summary …`: what is not a subcommand names a projection."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["begin", *args]
        return super().resolve_command(ctx, args)


@command.group(
    cls=_BeginsByName,
    help="Read a time range of events again: NAME begins one, the other commands manage replays.",
)
def replay() -> None:
    """Hold the subcommands."""


@replay.command(help="Begin a replay of a projection, and run it to its end; --into live needs --yes.")
@click.argument("name")
@click.option("--from", "begins", type=click.DateTime(_FORMATS), help="The first moment; by default the beginning.")
@click.option("--to", "ends", type=click.DateTime(_FORMATS), help="The moment to stop before; by default now.")
@click.option(
    "--into",
    type=click.Choice(["new", "live"]),
    default="new",
    show_default=True,
    help="Tables of its own (<table>__r<number>), or the live read model, whose handlers must tolerate events twice.",
)
@service_option
@reason_option
@json_option
@click.option("--yes", is_flag=True, help="Confirm that the live read model may get events a second time.")
@asynchronous
async def begin(
    project: Project,
    name: str,
    *,
    begins: datetime | None,
    ends: datetime | None,
    into: Literal["new", "live"],
    names: tuple[str, ...],
    reason: str,
    yes: bool,
    as_json: bool,
) -> int:
    """Begin a replay, and run it to its end; after ctrl-c it can be resumed."""
    if into == "live" and not yes:
        raise click.UsageError("events are applied to the live read model a second time: confirm with --yes")
    time_range = TimeRange(_aware(begins), _aware(ends))
    async with open_owner(project, names, name) as actions:
        replays = ReplayOperations(actions)
        started = await replays.begin(name, time_range, into, actor=actor(), reason=reason)
        note(f"replay {started.number} of {name}: {', '.join(started.tables) or 'into the live read model'}")
        return await _run(replays, started, as_json=as_json)


@replay.command("list", help="Replays, the newest first.")
@service_option
@limit_option(50)
@json_option
@asynchronous
async def list_(project: Project, names: tuple[str, ...], limit: int, *, as_json: bool) -> int:
    """List replays."""
    found: list[tuple[str, Replay]] = []
    async with project.open(names) as opened:
        for access, replays in await opened.each(lambda access: access.stores[REPLAYS].find(limit=limit)):
            found += [(access.name, each) for each in replays]
    found = sorted(found, key=lambda each: each[1].created_at, reverse=True)[:limit]
    if as_json:
        answer_json({"replays": [_document(*each) for each in found], "failed": opened.as_document()})
        return opened.code
    rows = [
        (
            service,
            each.number,
            each.projection,
            each.state,
            each.recorded_from,
            each.recorded_to,
            each.applied,
            each.failed,
            ", ".join(each.tables) or "live",
            ago(each.updated_at),
        )
        for service, each in found
    ]
    columns = ("service", "replay", "projection", "state", "from", "to", "applied", "failed", "into", "updated")
    table("Replays", columns, rows, empty="none", least=("service", "updated", "from", "to"))
    return opened.code


@replay.command(help="List events that a replay could not apply, and why.")
@click.argument("number", type=COUNT)
@service_option
@limit_option(100)
@click.option("--after", type=POSITION, default=0, metavar="POSITION", help="Only events after this position.")
@json_option
@asynchronous
async def errors(
    project: Project, number: int, names: tuple[str, ...], limit: int, after: int, *, as_json: bool
) -> int:
    """List what failed."""
    async with open_replay_owner(project, names, number) as actions:
        found = await actions.stores[REPLAYS].errors(number, after=after, limit=limit)
    if as_json:
        answer_json({"errors": list(found)})
    else:
        rows = [(each.position, each.stream, each.version, each.type, each.error, each.detail) for each in found]
        columns = ("position", "stream", "version", "event", "error", "where")
        table("Errors", columns, rows, empty="none", least=("version", "where"))
    return 0


def _on_one(verb: str, help_text: str, question: str = "") -> Callable[[_Acts], click.Command]:
    """Make a command on a replay by its number, with a reason."""

    def decorate(function: _Acts) -> click.Command:
        wrapped: Callable[..., Any] = asynchronous(function)
        if question:
            wrapped = confirm_option(lambda given: question.format(number=given["number"]))(wrapped)
        for option in (json_option, reason_option, service_option, click.argument("number", type=COUNT)):
            wrapped = option(wrapped)
        return replay.command(verb, help=help_text)(wrapped)

    return decorate


@_on_one("resume", "Resume a replay that was killed or cancelled, at its position.")
async def resume(project: Project, number: int, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Restart it, and run it to its end."""
    async with open_replay_owner(project, names, number) as actions:
        replays = ReplayOperations(actions)
        restarted = await replays.restart(number, actor=actor(), reason=reason)
        return await _run(replays, restarted, as_json=as_json)


@_on_one("cancel", "Stop a replay; what it has applied stays, and it can be resumed.")
async def cancel(project: Project, number: int, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Cancel it."""
    async with open_replay_owner(project, names, number) as actions:
        replays = ReplayOperations(actions)
        ended = await replays.cancel(number, actor=actor(), reason=reason)
    return _report(replays, ended, as_json=as_json)


@_on_one(
    "drop", "Drop a replay that has ended, with its tables and errors. Asks, or takes --yes.", "Drop replay {number}?"
)
async def drop(project: Project, number: int, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Drop it."""
    async with open_replay_owner(project, names, number) as actions:
        replays = ReplayOperations(actions)
        gone = await replays.drop(number, actor=actor(), reason=reason)
    if as_json:
        answer_json({"dropped": number, "tables": list(gone.tables)})
    else:
        note(f"replay {number} is dropped{': ' * bool(gone.tables)}{', '.join(gone.tables)}")
    return 0


async def _run(replays: ReplayOperations, started: Replay, *, as_json: bool) -> int:
    """Run a replay batch by batch to its end; exit code 1 if events failed."""
    left = await replays.left(started, COUNT_MAX)
    with made_progress() as progress:
        done_before = started.applied + started.failed
        task = progress.add_task(f"replay {started.number}", total=left or None, rate="")
        now = started
        async for now in replays.steps(started):
            done = now.applied + now.failed - done_before
            progress.update(task, completed=done, rate=f"{now.failed} failed" if now.failed else "")
    return _report(replays, now, as_json=as_json)


def _report(replays: ReplayOperations, replay: Replay, *, as_json: bool) -> int:
    if as_json:
        answer_json(_document(replays.service, replay))
    else:
        note(f"replay {replay.number} is {replay.state.value}: {replay.applied} applied, {replay.failed} failed")
        if replay.failed:
            note(f"what failed: freehold projection replay errors {replay.number}")
    return 1 if replay.failed and replay.state is ReplayState.DONE else 0


def _aware(given: datetime | None) -> datetime | None:
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)


def _document(service: str, replay: Replay) -> dict[str, object]:
    return {
        "service": service,
        "replay": replay.number,
        "projection": replay.projection,
        "into": "live" if replay.generation is not None else "new",
        "generation": replay.generation,
        "tables": list(replay.tables),
        "state": replay.state,
        "recorded_from": replay.recorded_from,
        "recorded_to": replay.recorded_to,
        "position": replay.position,
        "end": replay.end,
        "applied": replay.applied,
        "failed": replay.failed,
        "actor": replay.actor,
        "reason": replay.reason,
        "created_at": replay.created_at,
        "updated_at": replay.updated_at,
    }
