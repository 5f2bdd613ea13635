"""`freehold projection pause`, `resume`, `retry` and `skip`: the operator's actions on projections and parked streams.
Face.
"""

from __future__ import annotations

import click

from freehold.cli.options import actor, asynchronous, confirm_option, json_option, reason_option, service_option
from freehold.cli.output import answer_json, note
from freehold.cli.project import Project
from freehold.projection.commands.group import command, open_owner
from freehold.projection.parked_stream import RetryResult

__all__ = ["pause", "resume", "retry", "skip"]


@command.command(help="Pause all generations of a projection until it is resumed.")
@click.argument("name")
@service_option
@reason_option
@json_option
@asynchronous
async def pause(project: Project, name: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Pause it; exit code 1 if it was paused before."""
    async with open_owner(project, names, name) as actions:
        done = await actions.pause(name, actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": actions.context.service, "projection": name, "paused": done})
    else:
        note(f"{name} is paused" if done else f"{name} was paused before; its first reason stays")
    return 0 if done else 1


@command.command(help="Resume a paused projection.")
@click.argument("name")
@service_option
@reason_option
@json_option
@asynchronous
async def resume(project: Project, name: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Resume it; exit code 1 if nothing was paused."""
    async with open_owner(project, names, name) as actions:
        ended = await actions.resume(name, actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": actions.context.service, "projection": name, "ended": list(ended)})
    elif ended:
        for each in ended:
            note(f"{name} is resumed; it was paused by {each.actor}: {each.reason}")
    else:
        note(f"{name} was not paused")
    return 0 if ended else 1


@command.command(help="Retry a parked stream now; exit code 1 if it stays parked.")
@click.argument("name")
@click.argument("stream")
@service_option
@reason_option
@json_option
@asynchronous
async def retry(project: Project, name: str, stream: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Apply the stream's events from the parked one on."""
    async with open_owner(project, names, name) as actions:
        outcomes = await actions.retry(name, stream, actor=actor(), reason=reason)
    return _report(name, stream, outcomes, as_json=as_json)


@command.command(help="Skip the event that a stream is parked at, and continue after it. Asks, or takes --yes.")
@click.argument("name")
@click.argument("stream")
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Leave an event of {given['stream']} out of {given['name']} for good?")
@asynchronous
async def skip(project: Project, name: str, stream: str, names: tuple[str, ...], reason: str, *, as_json: bool) -> int:
    """Continue after the event; exit code 1 if a later one parks the stream again."""
    async with open_owner(project, names, name) as actions:
        outcomes = await actions.skip(name, stream, actor=actor(), reason=reason)
    return _report(name, stream, outcomes, as_json=as_json)


def _report(name: str, stream: str, outcomes: list[tuple[int, RetryResult]], *, as_json: bool) -> int:
    released = all(each.released for _, each in outcomes)
    if as_json:
        answer_json(
            {
                "projection": name,
                "stream": stream,
                "generations": [
                    {
                        "generation": number,
                        "applied": each.applied,
                        "released": each.released,
                        "error": each.parked.error if each.parked else "",
                        "detail": each.parked.detail if each.parked else "",
                    }
                    for number, each in outcomes
                ],
            }
        )
    for number, each in outcomes:
        where = f"{name}, generation {number}: '{stream}'"
        if each.parked is None:
            note(f"{where} is resumed, {each.applied} events applied")
        else:
            note(f"{where} stays parked at version {each.parked.version}: {each.parked.error}, {each.parked.detail}")
    return 0 if released else 1
