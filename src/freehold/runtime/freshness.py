"""Waiting for consistency tokens in a running service. Runtime: imports the foundation, the patterns' ports.

A token names lanes. Those of services whose events this service handles are waited for by the watermarks that its
consumers have noted. Then, for the projections that are to be read, the position in this service's own event store that
these lanes' handling has reached, and the token's own. Lanes that this service does not follow say nothing about what
it shows, and are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from freehold.clock import Clock
from freehold.consistency.store import LaneProgress, ProgressStore
from freehold.consistency.token import Token
from freehold.consistency.watcher import Behind, Fresh, Freshness, Frontier, Goal, Reached, Stale, Stalled, Watch
from freehold.errors import DeclarationError
from freehold.messages import MessageKind
from freehold.projection.store import ALL_GENERATIONS, Checkpoint, CheckpointStore, GenerationState
from freehold.service import Service

__all__ = ["FreshnessGate", "LaneFrontier", "ProjectionFrontier"]

_ALWAYS = 2**63 - 1
"""The position of a projection without checkpoints, which is never behind."""
_NO_TIME_SECONDS = 1e-6
"""A limit that has passed, and is not the 0 that asks for a look."""


class LaneFrontier(Frontier):
    """How far this service has read the lanes of others. What was once complete stays so: `known` remembers it."""

    def __init__(self, progress: ProgressStore | None, consumer: str, clock: Clock) -> None:
        self.known: dict[str, Reached] = {}
        self._progress = progress
        self._consumer = consumer
        self._clock = clock

    async def reached(self, names: Collection[str]) -> Mapping[str, Reached]:
        """One query. A lane with a deferred message is complete up to it, and stalls there."""
        if self._progress is None:  # the engine keeps none: a service that handles messages does not start on it
            return {}
        rows = await self._progress.progress(self._consumer, sorted(names))
        found = {each.lane: self._reached(each) for each in rows}
        for lane, each in found.items():
            if lane not in self.known or self.known[lane].position <= each.position:
                self.known[lane] = each
        return found

    def _reached(self, lane: LaneProgress) -> Reached:
        still_seconds = max(0.0, (self._clock.now() - lane.updated_at).total_seconds())
        if lane.blocked_at is None or lane.blocked_at > lane.watermark:
            return Reached(lane.watermark, kept=lane.kept, still_seconds=still_seconds)
        return Reached(lane.blocked_at - 1, "a message of it is deferred", lane.kept, still_seconds)


class ProjectionFrontier(Frontier):
    """How far the live generations of projections have come in this service's own event store."""

    def __init__(self, checkpoints: CheckpointStore | None, clock: Clock) -> None:
        self._checkpoints = checkpoints
        self._clock = clock

    async def reached(self, names: Collection[str]) -> Mapping[str, Reached]:
        """Three small queries for any number of projections, and one for each."""
        found: dict[str, Reached] = {}
        if self._checkpoints is None:
            return found
        generations = await self._checkpoints.generations()
        live = {each.projection: each for each in generations if each.state is GenerationState.LIVE}
        checkpoints = await self._checkpoints.checkpoints()
        pauses = {(each.projection, each.generation): each.reason for each in await self._checkpoints.pauses()}
        for name in names:
            if name not in live:
                found[name] = Reached(stalled="it has no generation that can be read yet")
                continue
            number = live[name].number
            own = [each for each in checkpoints if (each.projection, each.generation) == (name, number)]
            # The first alone, by position: there may be any number, of this projection and of others.
            stuck = await self._checkpoints.parked(name, number, limit=1)
            pause = pauses.get((name, number), pauses.get((name, ALL_GENERATIONS)))
            found[name] = self._reached(own, stuck[0].position if stuck else None, pause)
        return found

    def _reached(self, checkpoints: Sequence[Checkpoint], parked_at: int | None, pause: str | None) -> Reached:
        if not checkpoints:
            return Reached(_ALWAYS)
        slowest = min(checkpoints, key=lambda each: each.position)
        still_seconds = max(0.0, (self._clock.now() - slowest.updated_at).total_seconds())
        if parked_at is not None and parked_at <= slowest.position:
            return Reached(parked_at - 1, "an event of a stream is parked", still_seconds=still_seconds)
        stalled = None if pause is None else f"paused: {pause}"
        return Reached(slowest.position, stalled, still_seconds=still_seconds)


class FreshnessGate:
    """Says whether what this service shows holds all that a token has seen. One for each running service.

    `at_work` says of a role whether it runs here, or None where this process is not the one to run it.
    """

    def __init__(
        self,
        service: Service,
        progress: ProgressStore | None,
        checkpoints: CheckpointStore | None,
        clock: Clock,
        at_work: Callable[[str], bool | None] = lambda _role: None,
    ) -> None:
        self._service = service
        self._clock = clock
        self._at_work = at_work
        self._seen = LaneFrontier(progress, service.name, clock)
        self._lanes = Watch(self._seen, clock)
        self._projections = Watch(ProjectionFrontier(checkpoints, clock), clock)

    @property
    def followed(self) -> frozenset[str]:
        """The services whose events this one handles."""
        handled = (handler.message for handler in self._service.handlers.values())
        return frozenset(each.service for each in handled if each.kind is MessageKind.EVENT)

    @property
    def looks(self) -> int:
        """How often the database was asked."""
        return self._lanes.looks + self._projections.looks

    async def wait(self, token: Token, *, projections: Iterable[str] = (), limit_seconds: float) -> Freshness:
        """Wait until what the token has seen is there, at most so long; a limit of 0 asks how things are.

        Also where the database hangs the answer comes at the limit, and says what was known before. `projections` are
        the names of those that are to be read; without any, it is what handlers wrote. What handling failed for good is
        a dead letter, and is not waited for. Raises `DeclarationError` for a projection that this service does not
        have, `Unavailable` where the database fails. Cancellable; it holds no connection.
        """
        names = [name for name in self._checked(projections) if not self._service.projections[name].inline]
        deadline = self._clock.monotonic() + limit_seconds
        followed = self.followed
        goal = {lane: at for lane, at in token.positions.items() if "/" in lane and lane.partition("/")[0] in followed}
        known = self._seen.known
        unknown = {lane: at for lane, at in goal.items() if lane not in known or known[lane].position < at}
        missing = await self._lanes.until(unknown, limit_seconds)
        if missing:
            return self._verdict(goal, missing, "consumer")
        own = max([token.positions.get(self._service.name, 0), *(known[lane].kept for lane in goal if lane in known)])
        if not own or not names:
            return Fresh()
        goals = dict.fromkeys(names, own)
        left_seconds = 0.0 if limit_seconds <= 0 else max(_NO_TIME_SECONDS, deadline - self._clock.monotonic())
        missing = await self._projections.until(goals, left_seconds)
        return self._verdict(goals, missing, "projections") if missing else Fresh()

    def wake(self) -> None:
        """Something was handled or projected here: whoever waits is looked after at once."""
        self._lanes.wake()
        self._projections.wake()

    async def close(self) -> None:
        """End all waits."""
        await self._lanes.close()
        await self._projections.close()

    def _verdict(self, goal: Goal, missing: Mapping[str, Reached], role: str) -> Freshness:
        behind = tuple(
            Behind(name, goal[name], each.position, each.still_seconds) for name, each in sorted(missing.items())
        )
        reasons = {name: each.stalled for name, each in sorted(missing.items()) if each.stalled is not None}
        if not reasons and self._at_work(role) is False:
            reasons = dict.fromkeys(sorted(missing), f"the role '{role}' of this process does not run")
        return Stalled(behind, reasons) if reasons else Stale(behind)

    def _checked(self, projections: Iterable[str]) -> list[str]:
        names = sorted(set(projections))
        unknown = [name for name in names if name not in self._service.projections]
        if unknown:
            known = ", ".join(sorted(self._service.projections)) or "it has none"
            raise DeclarationError(f"'{self._service.name}' has no projection '{unknown[0]}'", hint=known)
        return names
