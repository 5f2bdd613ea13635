"""`freehold projection rebuild`, `switch`, `cancel-rebuild`, `drop` and `rebuild-key`. Face."""

from __future__ import annotations

import click

from freehold.cli.options import (
    COUNT,
    actor,
    asynchronous,
    confirm_option,
    json_option,
    reason_option,
    seconds,
    service_option,
)
from freehold.cli.output import answer_json, note
from freehold.cli.project import Project
from freehold.projection.commands.group import command, open_owner
from freehold.projection.commands.progress import follow
from freehold.projection.commands.tables import status_document
from freehold.projection.generations import SwitchResult, building_generation
from freehold.projection.operations import ProjectionOperations
from freehold.projection.store import CHECKPOINTS, Generation

__all__ = ["cancel_rebuild", "drop", "rebuild", "rebuild_key", "switch"]

_WAIT_SECONDS = 3600.0


@command.command(help="Rebuild a read model beside the live one; with --wait, wait until it is live.")
@click.argument("name")
@service_option
@click.option("--wait", is_flag=True, help="Show progress, and switch once it has caught up.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=seconds(1),
    default=_WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to --wait; the rebuild continues afterwards.",
)
@reason_option
@json_option
@asynchronous
async def rebuild(
    project: Project,
    name: str,
    names: tuple[str, ...],
    timeout_seconds: float,
    reason: str,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Begin a rebuild; with --wait, follow one that is being built already."""
    async with open_owner(project, names, name) as actions:
        building = await _building(actions, name) if wait else None
        generation = building or await actions.rebuild(name, actor=actor(), reason=reason)
        now = "is being built" if building is None else "was being built already"
        note(f"{name}: generation {generation.number} {now}, in version {generation.version}")
        if not wait:
            if as_json:
                answer_json({"service": actions.context.service, "projection": name, "generation": generation.number})
            else:
                note(f"see how far it is: freehold projection list; show it: freehold projection switch {name}")
            return 0
        done = await follow(actions, generation, actor=actor(), reason=reason, timeout_seconds=timeout_seconds)
    if as_json:
        answer_json({"service": actions.context.service, "switched": done.switched, **status_document(done.status)})
    return 0 if done.switched else 1


@command.command(help="Make the building generation the live one; exit code 1 while it lags. Asks, or takes --yes.")
@click.argument("name")
@service_option
@click.option("--force", is_flag=True, help="Switch even if streams are parked: their events are then missing.")
@reason_option
@json_option
@confirm_option(lambda given: f"Make the new generation of {given['name']} the live one?")
@asynchronous
async def switch(
    project: Project, name: str, names: tuple[str, ...], reason: str, *, force: bool, as_json: bool
) -> int:
    """Switch in one transaction."""
    async with open_owner(project, names, name) as actions:
        done = await actions.switch(name, actor=actor(), reason=reason, force=force)
    _report_switch(actions, done, as_json=as_json)
    return 0


@command.command("cancel-rebuild", help="Cancel the generation that is being built. Asks, or takes --yes.")
@click.argument("name")
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Cancel the rebuild of {given['name']}, with what was built so far?")
@asynchronous
async def cancel_rebuild(project: Project, name: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Retire it; its tables are dropped later."""
    async with open_owner(project, names, name) as actions:
        cancelled = await actions.cancel_rebuild(name, actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": actions.context.service, "projection": name, "cancelled": cancelled.number})
    else:
        note(f"{name}: generation {cancelled.number} is cancelled; the live generation stays")
    return 0


@command.command(help="Drop a retired generation with its tables, before its time. Asks, or takes --yes.")
@click.argument("name")
@click.argument("generation", type=COUNT)
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Drop generation {given['generation']} of {given['name']} with its tables?")
@asynchronous
async def drop(
    project: Project, name: str, generation: int, names: tuple[str, ...], reason: str, *, as_json: bool
) -> int:
    """Drop it."""
    async with open_owner(project, names, name) as actions:
        await actions.drop(name, generation, actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": actions.context.service, "projection": name, "dropped": generation})
    else:
        note(f"{name}: generation {generation} is dropped")
    return 0


@command.command(
    "rebuild-key",
    help="Rebuild the rows of one stream, and of those that belong to it, from their events, in the live read model.",
)
@click.argument("name")
@click.argument("stream")
@service_option
@reason_option
@json_option
@asynchronous
async def rebuild_key(
    project: Project, name: str, stream: str, names: tuple[str, ...], reason: str, *, as_json: bool
) -> int:
    """Delete and rebuild the rows in one transaction, so that no reader misses them."""
    async with open_owner(project, names, name) as actions:
        count = await actions.rebuild_key(name, stream, actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": actions.context.service, "projection": name, "stream": stream, "events": count})
    else:
        note(f"{name}: '{stream}' is rebuilt from {count} events")
    return 0


async def _building(actions: ProjectionOperations, name: str) -> Generation | None:
    return building_generation(await actions.stores[CHECKPOINTS].generations(name))


def _report_switch(actions: ProjectionOperations, done: SwitchResult, *, as_json: bool) -> None:
    if as_json:
        document = {"projection": done.live.projection, "live": done.live.number, "retired": done.retired.number}
        counts = {"parked": done.parked, "effects_lost": done.effects_lost}
        answer_json({"service": actions.context.service, **document, **counts})
    else:
        note(f"{done.live.projection}: generation {done.live.number} is live, {done.retired.number} is retired")
    if done.effects_lost:
        note(
            f"streams that were parked in generation {done.retired.number}: {done.effects_lost};"
            " side effects of their later events did not happen, and will not"
        )
