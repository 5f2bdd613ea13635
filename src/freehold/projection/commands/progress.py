"""The progress bar of a rebuild, with rate and time left, and the switch at its end. Face: imports rich."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from freehold.cli.output import duration, note, note_on_interrupt
from freehold.clock import SystemClock
from freehold.errors import NotFound
from freehold.projection.generations import NotCaughtUp
from freehold.projection.operations import ProjectionOperations
from freehold.projection.rebuild_runner import is_caught_up
from freehold.projection.status import GenerationStatus, StatusReport, with_rates
from freehold.projection.store import Generation, GenerationState

__all__ = ["Followed", "follow", "made_progress"]

_READ_SECONDS = 0.5
_SILENT_SECONDS = 15.0
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Followed:
    """The outcome of following a rebuild."""

    switched: bool
    status: GenerationStatus


async def follow(
    actions: ProjectionOperations, generation: Generation, *, actor: str, reason: str, timeout_seconds: float
) -> Followed:
    """Wait until a generation has caught up, and switch to it. Raises `NotFound` if it was cancelled meanwhile."""
    left = f"generation {generation.number} of {generation.projection} continues to be built: freehold projection list"
    with note_on_interrupt(lambda: f"stopped waiting; {left}"), made_progress() as progress:
        status = await _until_caught_up(actions, generation, progress, timeout_seconds)
    caught_up = await is_caught_up(actions.history, generation.projection)
    if status.state is GenerationState.LIVE:
        return _live(status)
    if status.parked:
        note(f"parked streams: {status.parked}; retry or skip them, or switch with --force")
    elif not caught_up:
        note(f"not caught up within {duration(timeout_seconds)}; it continues to be built")
    elif await _switched(actions, generation, actor=actor, reason=reason):
        return _live(_of(await actions.read_status(generation.projection), generation))
    return Followed(switched=False, status=status)


async def _until_caught_up(
    actions: ProjectionOperations, generation: Generation, progress: Progress, timeout_seconds: float
) -> GenerationStatus:
    """Show the progress until the generation can be switched to, is live already, or the time is over."""
    clock = SystemClock()
    started = moved_at = clock.monotonic()
    earlier: StatusReport | None = None
    task = progress.add_task(generation.projection, total=None, rate="")
    while True:
        report = await actions.read_status(generation.projection, retired=True)
        report, earlier = (report if earlier is None else with_rates(earlier, report)), report
        status = _of(report, generation)
        total = status.handled + status.lag_events
        progress.update(task, completed=status.handled, total=total, rate=_rate(status))
        now = clock.monotonic()
        if (
            status.state is GenerationState.LIVE
            or now - started > timeout_seconds
            or await is_caught_up(actions.history, generation.projection)
        ):
            return status
        if status.events_per_second:
            moved_at = now
        if now - moved_at > _SILENT_SECONDS:
            moved_at = now
            progress.console.print("no progress: does a process run the service in this version? (freehold run)")
        await clock.sleep(_READ_SECONDS)  # other processes fill the generation, and wake nobody here


def made_progress() -> Progress:
    """A progress bar on standard error that disappears at its end."""
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


async def _switched(actions: ProjectionOperations, generation: Generation, *, actor: str, reason: str) -> bool:
    """Switch; retry while writers are faster. False if it could not be switched to."""
    last: NotCaughtUp | None = None
    for _ in range(_ATTEMPTS):
        try:
            await actions.switch(generation.projection, actor=actor, reason=reason)
        except NotCaughtUp as error:
            last = error
            await SystemClock().sleep(_READ_SECONDS)  # another process fills the generation, and wakes nobody here
        except NotFound:
            return True  # another process has switched; the next report shows it
        else:
            return True
    note(str(last))
    return False


def _of(report: StatusReport, generation: Generation) -> GenerationStatus:
    for each in report.generations:
        if each.generation.number == generation.number and each.state is not GenerationState.RETIRED:
            return each
    raise NotFound(
        f"generation {generation.number} of projection '{generation.projection}' was cancelled",
        hint="freehold projection list --all",
    )


def _rate(status: GenerationStatus) -> str:
    if status.events_per_second is None:
        return ""
    left = f", eta {duration(status.seconds_left)}" if status.seconds_left else ""
    return f"{status.events_per_second:.0f} events/s{left}"


def _live(status: GenerationStatus) -> Followed:
    note(f"{status.projection}: generation {status.generation.number} is live, of {status.handled} events")
    return Followed(switched=True, status=status)
