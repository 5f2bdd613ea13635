"""The gate at which reads wait for consistency tokens in a running service. Pattern: imports its package, the context.

A token names lanes, and a read waits in two steps:

1. for the lanes of services whose events this service handles, until the watermarks that its consumers have stored
   reach the token;
2. for the read models that it reads, until they reach two positions in this service's own event store: the token's,
   and that of the last event which handling these lanes appended.

Lanes that this service does not follow do not concern what it shows, and are ignored. The gate knows neither handlers
nor read models: the patterns that have them register what they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from freehold.metrics import Histogram, MetricFamily, MetricKind, Metrics

__all__ = ["WAIT_SECONDS", "FreshnessGate", "LanePositions", "ReadModels"]

_NO_TIME_SECONDS: Final = 1e-6
"""A limit that has passed; 0 would ask once."""


class LanePositions(PositionSource):
    """How far this service has handled the lanes of others.

    `known` has the furthest position read of each lane: a lane that was complete through it stays so.
    """

    def __init__(self, progress: ProgressStore | None, consumer: str, clock: Clock) -> None:
        self.known: dict[str, CurrentPosition] = {}
        self._progress = progress
        self._consumer = consumer
        self._clock = clock

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        """Read the lanes, in one query. A lane with a deferred message is complete up to it, and stalls there."""
        if self._progress is None:  # a service that handles messages does not start on an engine without it
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
        return CurrentPosition(lane.blocked_at - 1, "a message in it is deferred", lane.appended_position, idle_seconds)


class ReadModels(PositionSource, Protocol):
    """The read models that follow the service's own event store, and how far they have come.

    `role` is the role whose runners update them.
    """

    role: str

    @property
    def declared(self) -> Collection[str]:
        """The names of all of them."""

    def follows(self, name: str) -> bool:
        """Whether it is updated after the events; False if it is written in their transaction."""


WAIT_SECONDS: Final = MetricFamily(
    "freehold_token_wait_seconds",
    MetricKind.HISTOGRAM,
    "How long a read waited until everything that its token has seen was there, and with what result.",
    unit="seconds",
    labels=("result",),
)


def wait_times(metrics: Metrics) -> Mapping[type[Freshness], Histogram]:
    """The histograms of waits, by their result."""
    return {kind: metrics.histogram(WAIT_SECONDS, kind.__name__.lower()) for kind in (Fresh, Stale, Stalled)}


class FreshnessGate:
    """Tells whether this service shows everything that a token has seen. One for each running service."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._clock = context.clock
        self._positions = LanePositions(context.stores.get(PROGRESS), context.service, context.clock)
        self._lanes = PositionWatcher(self._positions, context.clock)
        self._lane_role = ""
        self._followed: Callable[[], frozenset[str]] = frozenset
        self._read_models: list[tuple[ReadModels, PositionWatcher]] = []
        self._times = wait_times(context.metrics) if context.metrics.enabled else None

    def follow_lanes(self, services: Callable[[], frozenset[str]], *, role: str) -> None:
        """Let reads wait for the lanes of services whose events `role` handles."""
        self._followed, self._lane_role = services, role

    def register(self, read_models: ReadModels) -> None:
        """Let reads wait for read models by name."""
        self._read_models.append((read_models, PositionWatcher(read_models, self._clock)))

    @property
    def followed(self) -> frozenset[str]:
        """The services whose events this one handles."""
        return self._followed()

    @property
    def looks(self) -> int:
        """How often positions were read."""
        return sum(watcher.looks for watcher in self._watchers)

    async def wait(
        self, token: ConsistencyToken, *, projections: Iterable[str] = (), limit_seconds: float
    ) -> Freshness:
        """Wait until everything that the token has seen is there, at most `limit_seconds`; a limit of 0 asks once.

        If the database hangs, the answer comes at the limit all the same, from what was known before. `projections` are
        the names of those to be read; without any, the wait is for what handlers wrote. A message that became a dead
        letter is not waited for. Raises `DeclarationError` for a projection that this service does not have,
        `Unavailable` if the database fails. Cancellable; it holds no connection.
        """
        begun = self._clock.monotonic()
        found = await self._wait(token, self._checked(projections), limit_seconds)
        if self._times is not None:
            self._times[type(found)].observe(self._clock.monotonic() - begun)
        return found

    async def _wait(self, token: ConsistencyToken, names: Sequence[str], limit_seconds: float) -> Freshness:
        deadline = self._clock.monotonic() + limit_seconds
        followed = self.followed
        targets = {
            lane: position
            for lane, position in token.positions.items()
            if "/" in lane and lane.partition("/")[0] in followed
        }
        known = self._positions.known
        unknown = {name: at for name, at in targets.items() if name not in known or known[name].position < at}
        missing = await self._lanes.until(unknown, limit_seconds)
        if missing:
            return self._not_fresh(targets, missing, self._lane_role)
        context = self._context
        own = max(
            [
                token.positions.get(context.service, 0),
                *(known[lane].appended_position for lane in targets if lane in known),
            ]
        )
        for read_models, watcher in self._read_models if own else ():
            targets = {name: own for name in names if name in read_models.declared and read_models.follows(name)}
            left_seconds = 0.0 if limit_seconds <= 0 else max(_NO_TIME_SECONDS, deadline - self._clock.monotonic())
            missing = await watcher.until(targets, left_seconds)
            if missing:
                return self._not_fresh(targets, missing, read_models.role)
        return Fresh()

    def wake(self) -> None:
        """Look at the positions at once, because something was handled or projected here."""
        for watcher in self._watchers:
            watcher.wake()

    async def close(self) -> None:
        """End all waits."""
        for watcher in self._watchers:
            await watcher.close()

    @property
    def _watchers(self) -> list[PositionWatcher]:
        return [self._lanes, *(watcher for _, watcher in self._read_models)]

    def _not_fresh(self, targets: TargetPositions, missing: Mapping[str, CurrentPosition], role: str) -> Freshness:
        behind = tuple(
            PositionLag(name, targets[name], each.position, each.idle_seconds) for name, each in sorted(missing.items())
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
