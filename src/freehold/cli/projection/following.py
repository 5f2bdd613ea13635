"""Going along with a rebuild: a bar with rate and time left, the switch at its end. Face: imports rich."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from freehold.cli.output import duration, note
from freehold.clock import SystemClock
from freehold.errors import NotFound
from freehold.projection.generations import NotCaughtUp
from freehold.projection.rebuild import is_caught_up
from freehold.projection.status import GenerationStatus, Look, rated
from freehold.projection.store import Generation, GenerationState
from freehold.runtime.projections import ProjectionActions

__all__ = ["Followed", "follow", "made_progress"]

_LOOK_SECONDS = 0.5
_SILENT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Followed:
    """How it stood at the end."""

    switched: bool
    status: GenerationStatus


async def follow(
    actions: ProjectionActions, generation: Generation, *, actor: str, reason: str, timeout_seconds: float
) -> Followed:
    """Wait until a generation has caught up, and switch to it. Raises `NotFound` where it was given up meanwhile."""
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_seconds
    moved_at = clock.monotonic()
    earlier: Look | None = None
    told = False
    with made_progress() as progress:
        task = progress.add_task(generation.projection, total=None, rate="")
        while True:
            look = await actions.look(generation.projection, retired=True)
            look, earlier = (look if earlier is None else rated(earlier, look)), look
            status = _of(look, generation)
            progress.update(
                task, completed=status.handled, total=status.handled + status.lag_events, rate=_rate(status)
            )
            if status.state is GenerationState.LIVE:
                return _ended(status, "is live")
            if status.parked:
                note(f"{status.parked} streams are parked: retry or skip them, or switch with --force")
                return Followed(switched=False, status=status)
            if await _switched(actions, generation, actor=actor, reason=reason):
                return _ended(_of(await actions.look(generation.projection), generation), "is live")
            now = clock.monotonic()
            if status.events_per_second:
                moved_at, told = now, False
            if now - moved_at > _SILENT_SECONDS and not told:
                told = True
                note("nothing moves: does anybody run the service, in this version? (freehold run)")
            if now > deadline:
                note(f"not caught up within {duration(timeout_seconds)}; it goes on being built")
                return Followed(switched=False, status=status)
            await clock.sleep(_LOOK_SECONDS)


def made_progress() -> Progress:
    """A bar on standard error, that leaves nothing behind."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


async def _switched(actions: ProjectionActions, generation: Generation, *, actor: str, reason: str) -> bool:
    if not await is_caught_up(actions.history, generation.projection):
        return False
    try:
        await actions.switch(generation.projection, actor=actor, reason=reason)
    except (NotCaughtUp, NotFound):
        return False  # the next look tells which: it is behind again, or somebody else switched
    return True


def _of(look: Look, generation: Generation) -> GenerationStatus:
    for each in look.generations:
        if each.generation.number == generation.number and each.state is not GenerationState.RETIRED:
            return each
    raise NotFound(
        f"generation {generation.number} of projection '{generation.projection}' was given up",
        hint="freehold projection list --all",
    )


def _rate(status: GenerationStatus) -> str:
    if status.events_per_second is None:
        return ""
    left = f", {duration(status.seconds_left)} left" if status.seconds_left else ""
    return f"{status.events_per_second:.0f} events/s{left}"


def _ended(status: GenerationStatus, what: str) -> Followed:
    note(f"{status.projection}: generation {status.generation.number} {what}, of {status.handled} events")
    return Followed(switched=True, status=status)
