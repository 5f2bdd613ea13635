"""The runner of rebuilds: begins a generation for a new version, switches to it, drops retired ones with their leases.

Pattern: imports the foundation, the ports and its own package. Each action is one transaction that locks the
checkpoints, so any number of instances may run it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.database import Database, DatabaseTransaction
from freehold.errors import ConcurrencyConflict, PermissionDenied, Unavailable
from freehold.failures import describe
from freehold.leases.store import LeaseStore
from freehold.lifecycle import Runner
from freehold.projection.declaration import Projection
from freehold.projection.generations import (
    NotCaughtUp,
    RebuildSource,
    SwitchResult,
    begin,
    building_generation,
    cancel_rebuild,
    delete_leases,
    drop,
    live_generation,
    switch,
)
from freehold.projection.status import NEAR_EVENTS
from freehold.projection.store import Generation, GenerationState

__all__ = ["BY_ITSELF", "RebuildRunner", "TransactionHook", "attempt_drop", "attempt_switch", "is_caught_up"]

_log = logging.getLogger("freehold.projection")
_SETTLED_POLLS: Final = 5
BY_ITSELF: Final = "version {version} is deployed"
"""The reason of a rebuild that no operator has begun."""
TransactionHook = Callable[[DatabaseTransaction], Awaitable[None]]


class RebuildRunner(Runner):
    """Brings each projection to the version that is declared here, and drops retired generations after their retention.

    A generation of a higher version than the live one is begun, and becomes live, without an operator. One that an
    operator began in the same version waits for the operator's `switch`. `on_change` is called after a generation is
    begun or becomes live, to wake its runners.
    """

    def __init__(
        self,
        service: str,
        database: Database,
        history: RebuildSource,
        leases: LeaseStore,
        projections: Sequence[Projection],
        *,
        retention_seconds: float,
        poll_seconds: float = 1.0,
        on_change: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(f"rebuild {service}", clock=clock)
        self.switched = 0
        self._database = database
        self._history = history
        self._leases = leases
        self._numbers: dict[str, list[int]] = {}
        self._blocked: dict[str, int] = {}
        self._denied: dict[str, str] = {}
        self._projections = [each for each in projections if not each.inline]
        self._retention_seconds = retention_seconds
        self._poll_seconds = poll_seconds
        self._on_change = on_change

    async def run(self) -> None:
        """Manage every projection, until stopped."""
        while not self.stopping:
            settled = True
            for projection in self._projections:
                settled &= await self._manage(projection)
            self.healthy()
            await self.wait(self._poll_seconds * (_SETTLED_POLLS if settled else 1))

    async def _manage(self, projection: Projection) -> bool:
        """Do what is due; returns whether the generation of the declared version is live, and none is being built: then
        nothing is due until somebody begins one.
        """
        generations: Sequence[Generation] = ()
        try:
            generations = await self._history.checkpoints.generations(projection.name)
            await self._delete_leases(projection.name, [each.number for each in generations])
            await self._bring_forward(projection, generations)
            for each in generations:
                await self._drop_old(projection, each)
        except NotCaughtUp:
            return False
        except Unavailable:
            raise
        except PermissionDenied as error:
            self._log_denied(projection.name, error)
        except ConcurrencyConflict as error:
            _log.debug("%s: '%s': %s; will retry", self.name, projection.name, error.message)
        except Exception as error:  # noqa: BLE001 - a handler or a sink may raise anything; other projections continue
            self.last_error = error
            _log.warning("%s: '%s': %s; will retry", self.name, projection.name, describe(error))
        live = live_generation(generations)
        return live is not None and live.version == projection.version and building_generation(generations) is None

    def _log_denied(self, name: str, error: PermissionDenied) -> None:
        """Log once for each projection: it is retried in each round, and fails until an operator acts."""
        self.last_error = error
        if self._denied.get(name) != error.message:
            self._denied[name] = error.message
            _log.warning(
                "%s: '%s': %s: rebuild, switch or drop it by command, with a role that may create and drop tables",
                self.name,
                name,
                error.message,
            )

    async def _delete_leases(self, name: str, numbers: list[int]) -> None:
        """Delete leases without a generation: in the first round, and whenever the generations have changed."""
        if self._numbers.get(name) != numbers:
            await delete_leases(self._leases, self._history.checkpoints)
            self._numbers[name] = numbers

    async def _bring_forward(self, projection: Projection, generations: Sequence[Generation]) -> None:
        live = live_generation(generations)
        if live is None or live.version >= projection.version:
            return
        building = building_generation(generations)
        if building is None or building.version < projection.version:
            await self._begin(projection, older=building is not None)
        elif building.version == projection.version and await is_caught_up(self._history, projection.name):
            if await self._is_blocked(projection, building):
                return
            done = await attempt_switch(self._database, self._history, projection)
            self.switched += 1
            _log.info("%s: '%s' is live in version %d", self.name, projection.name, done.live.version)
            if done.effects_lost:
                _log.warning(
                    "%s: %d streams of '%s' were parked before; the side effects of their later events did not happen",
                    self.name,
                    done.effects_lost,
                    projection.name,
                )
            self._on_change()

    async def _is_blocked(self, projection: Projection, building: Generation) -> bool:
        """Whether streams of a building generation are parked: then it waits for an operator. Logged when their number
        changes.
        """
        parked = (await self._history.checkpoints.count_parked()).get((projection.name, building.number), 0)
        if parked and self._blocked.get(projection.name) != parked:
            _log.warning(
                "%s: generation %d of '%s' is built, and does not become live while streams of it are parked: %d; "
                "retry or skip them, or switch with --force",
                self.name,
                building.number,
                projection.name,
                parked,
            )
        self._blocked[projection.name] = parked
        return parked > 0

    async def _begin(self, projection: Projection, *, older: bool) -> None:
        async with self._database.begin() as db_tx:
            if older:
                await cancel_rebuild(db_tx, self._history.checkpoints, projection.name)
            reason = BY_ITSELF.format(version=projection.version)
            made = await begin(db_tx, self._history, projection, reason=reason)
            crash_point("projection.before-rebuild-commit")
        crash_point("projection.rebuild-begun")
        _log.info("%s: generation %d of '%s' is being built", self.name, made.number, projection.name)
        self._on_change()

    async def _drop_old(self, projection: Projection, generation: Generation) -> None:
        age_seconds = (self.clock.now() - generation.changed_at).total_seconds()
        if generation.state is not GenerationState.RETIRED or age_seconds < self._retention_seconds:
            return
        await attempt_drop(self._database, self._history, projection, generation.number)
        _log.info("%s: generation %d of '%s' is dropped", self.name, generation.number, projection.name)


async def is_caught_up(history: RebuildSource, name: str) -> bool:
    """Whether to try a switch: no partition of the building generation lags far behind the live one."""
    positions: dict[GenerationState, list[int]] = {}
    for each in await history.checkpoints.checkpoints(name):
        positions.setdefault(each.state, []).append(each.position)
    building, live = positions.get(GenerationState.BUILDING), positions.get(GenerationState.LIVE)
    if not building or not live:
        return False
    lowest, target = min(building), max(live)
    return lowest >= target or await history.events.count(lowest, target, limit=NEAR_EVENTS + 1) <= NEAR_EVENTS


async def attempt_switch(
    database: Database,
    history: RebuildSource,
    projection: Projection,
    *,
    force: bool = False,
    note: TransactionHook | None = None,
) -> SwitchResult:
    """Switch in a transaction of its own, then let the readers of a sink see it. `note` writes in the same transaction.

    Raises as `switch`, and what a sink raises. If the sink fails after the commit, the switch has happened, and the
    projection's runner lets the sink's readers see it later.
    """
    if projection.sink is not None:
        # The switch writes to it, perhaps before a runner has prepared it.
        building = building_generation(await history.checkpoints.generations(projection.name))
        if building is not None:
            await projection.sink.prepare(building.number)
    async with database.begin() as db_tx:
        done = await switch(db_tx, history, projection, force=force)
        crash_point("projection.before-switch-commit")
        if note is not None:
            await note(db_tx)
    crash_point("projection.switched")
    if projection.sink is not None:
        await projection.sink.show(done.live.number)
    crash_point("projection.switch-shown")
    return done


async def attempt_drop(
    database: Database,
    history: RebuildSource,
    projection: Projection,
    number: int,
    *,
    note: TransactionHook | None = None,
) -> None:
    """Drop a retired generation in a transaction of its own. `note` writes in the same transaction.

    A sink drops it first: if that fails, the generation still exists, and is dropped by the next attempt. Raises as
    `drop`, and what the sink raises.
    """
    if projection.sink is not None:
        generations = await history.checkpoints.generations(projection.name)
        if any(each.number == number and each.state is GenerationState.RETIRED for each in generations):
            await projection.sink.drop(number)
    async with database.begin() as db_tx:
        await drop(db_tx, history, projection, number)
        crash_point("projection.before-drop-commit")
        if note is not None:
            await note(db_tx)
