"""`freehold projection list`, `show` and `parked`. Face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from freehold.cli.options import FiniteRange, asynchronous, json_option, limit_option, service_option
from freehold.cli.output import ago, answer_json, duration, line, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.clock import SystemClock
from freehold.leases.store import LEASES
from freehold.projection.commands.group import actions_of, command, open_owner
from freehold.projection.commands.tables import (
    checkpoint_document,
    headline,
    show_generations,
    show_views,
    status_document,
    view_document,
)
from freehold.projection.generations import lease_prefix
from freehold.projection.operations import ProjectionOperations
from freehold.projection.status import GenerationStatus, StatusReport, with_rates
from freehold.projection.store import ParkedStream
from freehold.projection.view_store import VIEWS, ViewState

__all__ = ["list_", "parked", "show"]

_sample = click.option(
    "--sample",
    "sample_seconds",
    type=FiniteRange(min=0, max=60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure the rate; 0 for no rate.",
)


@command.command("list", help="List projections with their generations, lag and rate.")
@service_option
@_sample
@click.option("--all", "retired", is_flag=True, help="Show retired generations as well, until they are dropped.")
@json_option
@asynchronous
async def list_(
    project: Project, names: tuple[str, ...], sample_seconds: float, *, retired: bool, as_json: bool
) -> int:
    """Read the status twice, some time apart, for the rate."""
    found: list[tuple[str, GenerationStatus]] = []
    views: list[tuple[ServiceAccess, ViewState]] = []

    async def read(access: ServiceAccess) -> tuple[StatusReport, Sequence[ViewState]]:
        actions = actions_of(access)
        report = await _second_report(
            actions, await actions.read_status(retired=retired), sample_seconds, retired=retired
        )
        store = access.stores.get(VIEWS)
        return report, [] if store is None else await store.states()

    async with project.open(names) as opened:
        reports = await opened.each(read)
        for access, (report, states) in reports:
            found += [(access.name, each) for each in report.generations]
            views += [(access, each) for each in states]
        absent = _not_started([access for access, _ in reports], {(name, each.projection) for name, each in found})
    if as_json:
        answer_json(
            {
                "projections": [{"service": name, **status_document(each)} for name, each in found],
                "not_started": [{"service": name, "projection": projection} for name, projection in absent],
                "views": [view_document(access, each) for access, each in views],
                "failed": opened.as_document(),
            }
        )
        return opened.code
    show_generations(found, absent)
    if views:
        show_views(views)
    return opened.code


@command.command(help="Show one projection: the checkpoints of its generations, and the holders of their leases.")
@click.argument("name")
@service_option
@_sample
@json_option
@asynchronous
async def show(project: Project, name: str, names: tuple[str, ...], sample_seconds: float, *, as_json: bool) -> int:
    """Show every partition."""
    async with open_owner(project, names, name) as actions:
        report = await _second_report(
            actions, await actions.read_status(name, retired=True), sample_seconds, retired=True
        )
        holders = await _holders(actions, name)
    if as_json:
        partitions = [
            {**checkpoint_document(each), "holder": holders.get((each.generation, each.partition), "")}
            for status in report.generations
            for each in status.checkpoints
        ]
        answer_json({"generations": [status_document(each) for each in report.generations], "partitions": partitions})
        return 0
    for status in report.generations:
        line(headline(status), style="bold")
        rows = [
            (
                each.partition,
                each.position,
                each.handled,
                each.failed,
                ago(each.updated_at),
                holders.get((each.generation, each.partition), "no holder"),
            )
            for each in status.checkpoints
        ]
        columns = ("partition", "position", "handled", "failed", "updated", "holder")
        empty = "written by every append, in its transaction" if status.inline else "none"
        table("Checkpoints", columns, rows, empty=empty, least=("updated",))
    return 0


@command.command(help="List parked streams, and why they are parked.")
@click.argument("name")
@service_option
@limit_option(100)
@json_option
@asynchronous
async def parked(project: Project, name: str, names: tuple[str, ...], limit: int, *, as_json: bool) -> int:
    """List parked streams."""
    async with open_owner(project, names, name) as actions:
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
            _next_retry(each),
        )
        for each in found
    ]
    columns = ("gen", "stream", "event", "version", "position", "error", "where", "attempts", "next retry")
    table("Parked streams", columns, rows, empty="no stream is parked", least=("position", "version", "gen", "where"))
    return 0


async def _second_report(
    actions: ProjectionOperations, earlier: StatusReport, seconds: float, *, retired: bool
) -> StatusReport:
    if seconds == 0 or not earlier.generations:
        return earlier
    await SystemClock().sleep(seconds)
    projections = {status.projection for status in earlier.generations}
    only = projections.pop() if len(projections) == 1 else None
    return with_rates(earlier, await actions.read_status(only, retired=retired))


async def _holders(actions: ProjectionOperations, name: str) -> Mapping[tuple[int, int], str]:
    """The holders of the leases of a projection's partitions, by generation and partition."""
    prefix = lease_prefix(name)
    found: dict[tuple[int, int], str] = {}
    for lease in await actions.stores[LEASES].list(prefix):
        generation, _, partition = lease.name.removeprefix(prefix).partition("/")
        if generation.isdigit() and partition.isdigit() and lease.owner:
            found[int(generation), int(partition)] = lease.owner
    return found


def _not_started(services: list[ServiceAccess], known: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (access.name, projection)
        for access in services
        for projection in sorted(access.service.projections)
        if (access.name, projection) not in known
    ]


def _next_retry(parked: ParkedStream) -> str:
    """When it is retried, or by whom. A process that is retrying it may also have crashed meanwhile."""
    if parked.started_attempts:
        return "retrying, by an operator" if parked.due_seconds is None else "retrying"
    return "operator" if parked.due_seconds is None else f"in {duration(max(0.0, parked.due_seconds))}"
