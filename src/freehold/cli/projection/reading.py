"""`freehold projection list`, `show` and `parked`. Face."""

from __future__ import annotations

from collections.abc import Mapping

import click

from freehold.cli.context import Project, ServiceAccess
from freehold.cli.options import asynchronous, json_option, limit_option, service_option
from freehold.cli.output import ago, answer_json, duration, line, table
from freehold.cli.projection.group import actions_of, command, holding
from freehold.clock import SystemClock
from freehold.projection.status import COUNT_MAX, GenerationStatus, Look, rated
from freehold.projection.views import ViewState
from freehold.runtime.projections import ProjectionActions

__all__ = ["list_", "parked", "show", "status_document"]

_sample = click.option(
    "--sample",
    "sample_seconds",
    type=click.FloatRange(min=0, max=60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to look for the rate; 0 for none.",
)
_LIST_COLUMNS = (
    "service",
    "projection",
    "gen",
    "version",
    "state",
    "behind",
    "for",
    "events/s",
    "left",
    "parked",
    "paused",
)


@command.command("list", help="Projections with their generations, how far they are behind, and how fast they go.")
@service_option
@_sample
@click.option("--all", "retired", is_flag=True, help="Retired generations too, until they are dropped.")
@json_option
@asynchronous
async def list_(
    project: Project, names: tuple[str, ...], sample_seconds: float, *, retired: bool, as_json: bool
) -> int:
    """Two looks some time apart give the rate."""
    found: list[tuple[str, GenerationStatus]] = []
    views: list[tuple[ServiceAccess, ViewState]] = []
    async with project.open(names) as opened:
        actions = [actions_of(access) for access in opened.services]
        looks = [await each.look(retired=retired) for each in actions]
        looks = await _look_again(actions, looks, sample_seconds, retired=retired)
        for access, look in zip(opened.services, looks, strict=True):
            found += [(access.name, each) for each in look.generations]
            views += [(access, each) for each in await access.stores.views.states()]
        absent = _not_begun(opened.services, {(name, each.projection) for name, each in found})
    if as_json:
        answer_json(
            {
                "projections": [{"service": name, **status_document(each)} for name, each in found],
                "not_begun": [{"service": name, "projection": projection} for name, projection in absent],
                "views": [_view_document(access, each) for access, each in views],
                "failed": opened.as_document(),
            }
        )
        return opened.code
    rows = [(name, *_row(each)) for name, each in found]
    rows += [(name, projection, "-", "-", "not begun", "-", "-", "-", "-", "-", "-") for name, projection in absent]
    table("Projections", _LIST_COLUMNS, rows, empty="none", least=("service", "left", "version"))
    if views:
        _show_views(views)
    return opened.code


@command.command(help="One projection: the checkpoints of its generations, and who works on them.")
@click.argument("name")
@service_option
@_sample
@json_option
@asynchronous
async def show(project: Project, name: str, names: tuple[str, ...], sample_seconds: float, *, as_json: bool) -> int:
    """Show every partition."""
    async with holding(project, names, name) as actions:
        (look,) = await _look_again([actions], [await actions.look(name, retired=True)], sample_seconds, retired=True)
        holders = await _holders(actions, name)
    if as_json:
        partitions = [
            {**_checkpoint_document(each), "holder": holders.get((each.generation, each.partition), "")}
            for status in look.generations
            for each in status.checkpoints
        ]
        answer_json({"generations": [status_document(each) for each in look.generations], "partitions": partitions})
        return 0
    for status in look.generations:
        line(_headline(status), style="bold")
        rows = [
            (
                each.partition,
                each.position,
                each.handled,
                each.failed,
                ago(each.updated_at),
                holders.get((each.generation, each.partition), "nobody"),
            )
            for each in status.checkpoints
        ]
        columns = ("partition", "position", "handled", "failed", "moved", "holder")
        empty = "written by every append, in its transaction" if status.inline else "none"
        table("Checkpoints", columns, rows, empty=empty, least=("moved",))
    return 0


@command.command(help="Streams that stand still, and why.")
@click.argument("name")
@service_option
@limit_option(100)
@json_option
@asynchronous
async def parked(project: Project, name: str, names: tuple[str, ...], limit: int, *, as_json: bool) -> int:
    """List parked streams."""
    async with holding(project, names, name) as actions:
        found = await actions.parked(name, limit)
    if as_json:
        answer_json({"parked": list(found)})
        return 0
    rows = [
        (
            each.generation,
            each.stream,
            each.type,
            each.version,
            each.position,
            each.error,
            each.detail,
            each.attempts,
            "a person" if each.due_seconds is None else f"in {duration(max(0.0, each.due_seconds))}",
        )
        for each in found
    ]
    columns = ("gen", "stream", "event", "version", "position", "error", "where", "attempts", "next try")
    table("Parked", columns, rows, empty="no stream is parked", least=("position", "version", "gen", "where"))
    return 0


def status_document(status: GenerationStatus) -> dict[str, object]:
    """A generation for JSON."""
    return {
        "projection": status.projection,
        "generation": status.generation.number,
        "version": status.generation.version,
        "code_version": status.code_version,
        "state": status.state,
        "reason": status.generation.reason,
        "inline": status.inline,
        "position": status.position,
        "head": status.head,
        "lag_events": status.lag_events,
        "lag_seconds": status.lag_seconds,
        "events_per_second": status.events_per_second,
        "seconds_left": status.seconds_left,
        "handled": status.handled,
        "failed": status.failed,
        "parked": status.parked,
        "held_up": status.held_up,
        "paused": status.paused,
        "created_at": status.generation.created_at,
    }


async def _look_again(
    actions: list[ProjectionActions], earlier: list[Look], seconds: float, *, retired: bool
) -> list[Look]:
    if seconds == 0 or not any(look.generations for look in earlier):
        return earlier
    await SystemClock().sleep(seconds)
    found = []
    for each, before in zip(actions, earlier, strict=True):
        projections = {status.projection for status in before.generations}
        only = projections.pop() if len(projections) == 1 else None
        found.append(rated(before, await each.look(only, retired=retired)) if before.generations else before)
    return found


async def _holders(actions: ProjectionActions, name: str) -> Mapping[tuple[int, int], str]:
    """Who holds the leases of a projection's partitions, by generation and partition."""
    prefix = f"projection/{name}/"
    found: dict[tuple[int, int], str] = {}
    for lease in await actions.stores.leases.list(prefix):
        generation, _, partition = lease.name.removeprefix(prefix).partition("/")
        if generation.isdigit() and partition.isdigit() and lease.owner:
            found[int(generation), int(partition)] = lease.owner
    return found


def _not_begun(services: list[ServiceAccess], known: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (access.name, projection)
        for access in services
        for projection in sorted(access.service.projections)
        if (access.name, projection) not in known
    ]


def _row(status: GenerationStatus) -> tuple[object, ...]:
    rate = status.events_per_second
    return (
        status.projection,
        status.generation.number,
        _version(status),
        "held up" if status.held_up else status.state,
        "-" if status.inline else _many(status.lag_events),
        duration(status.lag_seconds) if status.lag_events else "-",
        "-" if rate is None else f"{rate:.0f}",
        duration(status.seconds_left) if status.lag_events else "-",
        status.parked,
        "-" if status.paused is None else status.paused.reason,
    )


def _version(status: GenerationStatus) -> str:
    version = status.generation.version
    declared = status.code_version
    return str(version) if declared in {None, version} else f"{version} (code: {declared})"


def _many(events: int) -> str:
    return f"{events}+" if events >= COUNT_MAX else str(events)


def _headline(status: GenerationStatus) -> str:
    generation = status.generation
    parts = [f"{status.projection}: generation {generation.number}, version {_version(status)}, {status.state.value}"]
    if status.inline:
        parts.append("inline")
    elif status.lag_events:
        parts.append(f"{_many(status.lag_events)} events behind for {duration(status.lag_seconds)}")
    else:
        parts.append("up to date" if generation.state.value != "retired" else "not kept up to date any more")
    if status.parked:
        parts.append(f"parked streams: {status.parked}")
    if status.held_up:
        parts.append("built, and not switched to until they are retried or skipped, or with --force")
    if status.paused is not None:
        parts.append(f"paused by {status.paused.actor}: {status.paused.reason}")
    if generation.reason:
        parts.append(f"begun because: {generation.reason}")
    return "; ".join(parts)


def _checkpoint_document(each: object) -> dict[str, object]:
    names = ("generation", "partition", "position", "state", "handled", "failed", "updated_at")
    return {name: getattr(each, name) for name in names}


def _view_document(access: ServiceAccess, state: ViewState) -> dict[str, object]:
    declared = access.service.materialized_views.get(state.name)
    return {
        "service": access.name,
        "view": state.name,
        "kind": "emulation by a table" if state.emulated else "materialised view",
        "refreshed_at": state.refreshed_at,
        "duration_seconds": state.duration_seconds,
        "refresh_seconds": declared.refresh_seconds if declared else None,
        "failures": state.failures,
        "error": state.error,
    }


def _show_views(views: list[tuple[ServiceAccess, ViewState]]) -> None:
    rows = []
    for access, state in views:
        declared = access.service.materialized_views.get(state.name)
        every = declared.refresh_seconds if declared else None
        rows.append(
            (
                access.name,
                state.name,
                "emulation by a table" if state.emulated else "materialised view",
                ago(state.refreshed_at),
                duration(state.duration_seconds),
                "on demand" if every is None else duration(every),
                state.failures,
                state.error,
            )
        )
    columns = ("service", "view", "kind", "refreshed", "took", "every", "failures", "error")
    table("Views", columns, rows, empty="none", least=("service", "kind", "every"))
