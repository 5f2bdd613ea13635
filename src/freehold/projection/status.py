"""The status of projections: generations, their lag in events and in seconds, their rate, parked streams and pauses.

Pattern: imports the foundation, the event store port and its own package. A rate is computed from two reports.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from freehold.clock import Clock
from freehold.consistency.gate import ReadModels
from freehold.consistency.watcher import CurrentPosition
from freehold.eventstore.store import EVERYTHING, EventFilter, EventStore
from freehold.projection.declaration import Projection
from freehold.projection.store import (
    ALL_GENERATIONS,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    Pause,
)

__all__ = [
    "COUNT_MAX",
    "NEAR_EVENTS",
    "GenerationStatus",
    "ProjectionPositions",
    "StatusReport",
    "filter_of",
    "read_status",
    "with_rates",
]

COUNT_MAX: Final = 1_000_000
"""The limit of a count of events: a lag of this number may be greater."""
NEAR_EVENTS: Final = 1000
"""The lag of a building generation at which a switch is tried; the switch applies these last events."""


_ALWAYS: Final = 2**63 - 1
"""The position of a projection without checkpoints, which never lags."""


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """The status of a generation at one moment.

    head               the high-water mark of the event store.
    position           the lowest of its checkpoints; `head` if it has none.
    lag_events         how many wanted events it has not handled, at most `COUNT_MAX` for each partition.
    lag_seconds        the age of the oldest of them; 0 if there is none.
    handled, failed    counts of events since the generation was made.
    parked             how many streams are parked.
    paused             the pause; None if it is not paused.
    code_version       the version that is declared here; None if the projection is not declared.
    events_per_second  the rate; None with one report only.
    seconds_left       the time to handle the lag at this rate; None if unknown.
    """

    projection: str
    generation: Generation
    checkpoints: tuple[Checkpoint, ...]
    head: int
    position: int
    lag_events: int
    lag_seconds: float
    handled: int
    failed: int
    parked: int
    paused: Pause | None
    code_version: int | None
    inline: bool
    events_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def state(self) -> GenerationState:
        """The state of the generation."""
        return self.generation.state

    @property
    def blocked_by_parked(self) -> bool:
        """Whether it is built, and does not become live because streams of it are parked."""
        built = self.state is GenerationState.BUILDING and self.lag_events <= NEAR_EVENTS
        return built and self.parked > 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The status of all generations, by projection and number. `at_seconds` is the reader's monotonic clock."""

    at_seconds: float
    generations: tuple[GenerationStatus, ...]

    def of(self, projection: str, state: GenerationState) -> GenerationStatus | None:
        """The newest generation of a projection in a state; None if there is none."""
        found = [each for each in self.generations if each.projection == projection and each.state is state]
        return found[-1] if found else None


def filter_of(projection: Projection | None, partition: int, partitions: int) -> EventFilter:
    """The events that a partition of a projection reads; if it is not declared here, all events of the partition."""
    wanted = EVERYTHING if projection is None else projection.event_filter
    return replace(wanted, partition=partition, partitions=partitions)


async def read_status(
    checkpoints: CheckpointStore,
    events: EventStore,
    declared: Mapping[str, Projection],
    clock: Clock,
    *,
    projection: str | None = None,
    retired: bool = False,
) -> StatusReport:
    """Read the status of all generations, or of one projection's; of `retired` ones only on request."""
    head = await events.high_water_mark()
    at_seconds = clock.monotonic()
    parked = await checkpoints.count_parked()
    pauses = {(each.projection, each.generation): each for each in await checkpoints.pauses(projection)}
    by_generation: dict[tuple[str, int], list[Checkpoint]] = {}
    for each in await checkpoints.checkpoints(projection):
        by_generation.setdefault((each.projection, each.generation), []).append(each)
    found = []
    for generation in await checkpoints.generations(projection):
        if generation.state is GenerationState.RETIRED and not retired:
            continue
        key = (generation.projection, generation.number)
        found.append(
            await _status(
                events,
                declared.get(generation.projection),
                generation,
                by_generation.get(key, []),
                head,
                parked=parked.get(key, 0),
                paused=pauses.get((generation.projection, ALL_GENERATIONS)) or pauses.get(key),
                clock=clock,
            )
        )
    return StatusReport(at_seconds, tuple(found))


def with_rates(earlier: StatusReport, later: StatusReport) -> StatusReport:
    """The later report, with the rates and the time left that are computed from both."""
    seconds = later.at_seconds - earlier.at_seconds
    before = {(each.projection, each.generation.number): each for each in earlier.generations}
    if seconds <= 0:
        return later
    return StatusReport(
        later.at_seconds,
        tuple(
            _with_rate(each, before.get((each.projection, each.generation.number)), seconds)
            for each in later.generations
        ),
    )


async def _status(
    events: EventStore,
    projection: Projection | None,
    generation: Generation,
    checkpoints: Sequence[Checkpoint],
    head: int,
    *,
    parked: int,
    paused: Pause | None,
    clock: Clock,
) -> GenerationStatus:
    lag_events = 0
    lag_seconds = 0.0
    if generation.state is not GenerationState.RETIRED:
        for each in checkpoints:
            event_filter = filter_of(projection, each.partition, generation.partitions)
            lag_events += await events.count(each.position, head, event_filter, limit=COUNT_MAX)
            oldest = await events.recorded_at(each.position, event_filter) if each.position < head else None
            if oldest is not None:
                lag_seconds = max(lag_seconds, (clock.now() - oldest).total_seconds())
    return GenerationStatus(
        projection=generation.projection,
        generation=generation,
        checkpoints=tuple(checkpoints),
        head=head,
        position=min((each.position for each in checkpoints), default=head),
        lag_events=lag_events,
        lag_seconds=lag_seconds,
        handled=sum(each.handled for each in checkpoints),
        failed=sum(each.failed for each in checkpoints),
        parked=parked,
        paused=paused,
        code_version=projection.version if projection is not None else None,
        inline=generation.partitions == 0,
    )


def _with_rate(now: GenerationStatus, before: GenerationStatus | None, seconds: float) -> GenerationStatus:
    if before is None or now.inline:
        return now
    rate = max(0.0, (now.handled - before.handled) / seconds)
    if now.lag_events == 0:
        left: float | None = 0.0
    else:
        left = now.lag_events / rate if rate > 0 else None
    return replace(now, events_per_second=rate, seconds_left=left)


class ProjectionPositions(ReadModels):
    """The positions of the live generations in this service's own event store, for which the freshness gate waits."""

    role = "projections"

    def __init__(
        self, projections: Mapping[str, Projection], checkpoints: CheckpointStore | None, clock: Clock
    ) -> None:
        self._projections = projections
        self._checkpoints = checkpoints
        self._clock = clock

    @property
    def declared(self) -> Collection[str]:
        """The names of all declared projections."""
        return self._projections.keys()

    def follows(self, name: str) -> bool:
        """Whether it is updated after the events: all but inline projections."""
        return not self._projections[name].inline

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        """Read positions: three queries, and one more for each projection."""
        found: dict[str, CurrentPosition] = {}
        if self._checkpoints is None:
            return found
        generations = await self._checkpoints.generations()
        live = {each.projection: each for each in generations if each.state is GenerationState.LIVE}
        checkpoints = await self._checkpoints.checkpoints()
        pauses = {(each.projection, each.generation): each.reason for each in await self._checkpoints.pauses()}
        for name in names:
            if name not in live:
                found[name] = CurrentPosition(stalled="it has no live generation yet")
                continue
            number = live[name].number
            own = [each for each in checkpoints if (each.projection, each.generation) == (name, number)]
            # Only the first by position: there may be many parked streams.
            parked = await self._checkpoints.parked(name, number, limit=1)
            pause = pauses.get((name, number), pauses.get((name, ALL_GENERATIONS)))
            found[name] = self._reached(own, parked[0].position if parked else None, pause)
        return found

    def _reached(self, checkpoints: Sequence[Checkpoint], parked_at: int | None, pause: str | None) -> CurrentPosition:
        if not checkpoints:
            return CurrentPosition(_ALWAYS)
        slowest = min(checkpoints, key=lambda each: each.position)
        idle_seconds = max(0.0, (self._clock.now() - slowest.updated_at).total_seconds())
        if parked_at is not None and parked_at <= slowest.position:
            return CurrentPosition(parked_at - 1, "an event of a stream is parked", idle_seconds=idle_seconds)
        stalled = None if pause is None else f"paused: {pause}"
        return CurrentPosition(slowest.position, stalled, idle_seconds=idle_seconds)
