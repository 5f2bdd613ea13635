"""Waiting for consistency tokens in a running service. Pattern: imports its package and the context.

A token names lanes. Those of services whose events this service handles are waited for by the watermarks that its
consumers have noted. Then, for the read models that are to be read, the position in this service's own event store that
these lanes' handling has reached, and the token's own. Lanes that this service does not follow say nothing about what
it shows, and are passed over.

The gate knows neither handlers nor read models: the patterns that have them register what they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

from freehold.clock import Clock
from freehold.consistency.store import PROGRESS, LaneProgress, ProgressStore
from freehold.consistency.token import ConsistencyToken
from freehold.consistency.watcher import (
    CurrentPosition,
    Fresh,
    Freshness,
    PositionLag,
    PositionSource,
    PositionWatcher,
    Stale,
    Stalled,
    TargetPositions,
)
from freehold.context import ServiceContext
from freehold.errors import DeclarationError

__all__ = ["FreshnessGate", "LaneFrontier", "ReadModels"]

_NO_TIME_SECONDS: Final = 1e-6
"""A limit that has passed, and is not the 0 that asks for a look."""


class LaneFrontier(PositionSource):
    """How far this service has read the lanes of others. What was once complete stays so: `known` remembers it."""

    def __init__(self, progress: ProgressStore | None, consumer: str, clock: Clock) -> None:
        self.known: dict[str, CurrentPosition] = {}
        self._progress = progress
        self._consumer = consumer
        self._clock = clock

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        """One query. A lane with a deferred message is complete up to it, and stalls there."""
        if self._progress is None:  # the engine keeps none: a service that handles messages does not start on it
            return {}
        rows = await self._progress.progress(self._consumer, sorted(names))
        found = {each.lane: self._reached(each) for each in rows}
        for lane, each in found.items():
            if lane not in self.known or self.known[lane].position <= each.position:
                self.known[lane] = each
        return found

    def _reached(self, lane: LaneProgress) -> CurrentPosition:
        idle_seconds = max(0.0, (self._clock.now() - lane.updated_at).total_seconds())
        if lane.blocked_at is None or lane.blocked_at > lane.watermark:
            return CurrentPosition(lane.watermark, appended_position=lane.appended_position, idle_seconds=idle_seconds)
        return CurrentPosition(lane.blocked_at - 1, "a message of it is deferred", lane.appended_position, idle_seconds)


class ReadModels(PositionSource, Protocol):
    """What follows the events of the service's own store, by name, and how far it has come.

    role      the role that brings it further.
    declared  the names that there are.
    """

    role: str

    @property
    def declared(self) -> Collection[str]:
        """The names that there are."""

    def follows(self, name: str) -> bool:
        """Whether it comes behind the events; False for what is written in their transaction."""


class FreshnessGate:
    """Says whether what this service shows holds all that a token has seen. One for each running service."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._clock = context.clock
        self._seen = LaneFrontier(context.stores.get(PROGRESS), context.service, context.clock)
        self._lanes = PositionWatcher(self._seen, context.clock)
        self._lane_role = ""
        self._followed: Callable[[], frozenset[str]] = frozenset
        self._read_models: list[tuple[ReadModels, PositionWatcher]] = []

    def follow_lanes(self, services: Callable[[], frozenset[str]], *, role: str) -> None:
        """Have the lanes of services waited for: those whose events a role handles."""
        self._followed, self._lane_role = services, role

    def register(self, read_models: ReadModels) -> None:
        """Have read models waited for by name."""
        self._read_models.append((read_models, PositionWatcher(read_models, self._clock)))

    @property
    def followed(self) -> frozenset[str]:
        """The services whose events this one handles."""
        return self._followed()

    @property
    def looks(self) -> int:
        """How often the database was asked."""
        return self._lanes.looks + sum(watch.looks for _, watch in self._read_models)

    async def wait(
        self, token: ConsistencyToken, *, projections: Iterable[str] = (), limit_seconds: float
    ) -> Freshness:
        """Wait until what the token has seen is there, at most so long; a limit of 0 asks how things are.

        Also where the database hangs the answer comes at the limit, and says what was known before. `projections` are
        the names of those that are to be read; without any, it is what handlers wrote. What handling failed for good is
        a dead letter, and is not waited for. Raises `DeclarationError` for a projection that this service does not
        have, `Unavailable` where the database fails. Cancellable; it holds no connection.
        """
        names = self._checked(projections)
        deadline = self._clock.monotonic() + limit_seconds
        followed = self.followed
        goal = {lane: at for lane, at in token.positions.items() if "/" in lane and lane.partition("/")[0] in followed}
        known = self._seen.known
        unknown = {lane: at for lane, at in goal.items() if lane not in known or known[lane].position < at}
        missing = await self._lanes.until(unknown, limit_seconds)
        if missing:
            return self._verdict(goal, missing, self._lane_role)
        context = self._context
        own = max(
            [
                token.positions.get(context.service, 0),
                *(known[lane].appended_position for lane in goal if lane in known),
            ]
        )
        for read_models, watch in self._read_models if own else ():
            goals = {name: own for name in names if name in read_models.declared and read_models.follows(name)}
            left_seconds = 0.0 if limit_seconds <= 0 else max(_NO_TIME_SECONDS, deadline - self._clock.monotonic())
            missing = await watch.until(goals, left_seconds) if goals else {}
            if missing:
                return self._verdict(goals, missing, read_models.role)
        return Fresh()

    def wake(self) -> None:
        """Something was handled or projected here: whoever waits is looked after at once."""
        for watch in self._watches:
            watch.wake()

    async def close(self) -> None:
        """End all waits."""
        for watch in self._watches:
            await watch.close()

    @property
    def _watches(self) -> list[PositionWatcher]:
        return [self._lanes, *(watch for _, watch in self._read_models)]

    def _verdict(self, goal: TargetPositions, missing: Mapping[str, CurrentPosition], role: str) -> Freshness:
        behind = tuple(
            PositionLag(name, goal[name], each.position, each.idle_seconds) for name, each in sorted(missing.items())
        )
        reasons = {name: each.stalled for name, each in sorted(missing.items()) if each.stalled is not None}
        if not reasons and self._context.at_work(role) is False:
            reasons = dict.fromkeys(sorted(missing), f"the role '{role}' of this process does not run")
        return Stalled(behind, reasons) if reasons else Stale(behind)

    def _checked(self, projections: Iterable[str]) -> list[str]:
        names = sorted(set(projections))
        known = sorted({name for read_models, _ in self._read_models for name in read_models.declared})
        unknown = [name for name in names if name not in known]
        if unknown:
            raise DeclarationError(
                f"'{self._context.service}' has no projection '{unknown[0]}'", hint=", ".join(known) or "it has none"
            )
        return names
