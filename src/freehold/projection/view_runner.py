"""The runner that refreshes materialized views on their schedules. Pattern: imports the foundation, its package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.lifecycle import Runner
from freehold.projection.view_store import MaterializedView, ViewStore

__all__ = ["ViewRunner"]

_log = logging.getLogger("freehold.projection")
_WAIT_SECONDS_MAX = 60.0
_WAIT_SECONDS_MIN = 0.05


class ViewRunner(Runner):
    """Refreshes the views whose leases this instance holds (`held` returns their names), each when it is due.

    A view whose refresh fails keeps its old rows and its error, and is retried; other views are not affected.
    """

    def __init__(
        self,
        service: str,
        store: ViewStore,
        views: Sequence[MaterializedView],
        held: Callable[[], Collection[str]],
        *,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(f"views {service}", clock=clock)
        self.refreshed = 0
        self._store = store
        self._views: Mapping[str, MaterializedView] = {view.name: view for view in views}
        self._held = held

    async def run(self) -> None:
        """Refresh what is due, until stopped."""
        while not self.stopping:
            next_seconds = await self._round()
            self.healthy()
            await self.wait(next_seconds)

    async def _round(self) -> float:
        """Refresh what is due; returns the time until the next refresh."""
        waits = [_WAIT_SECONDS_MAX]
        states = {state.name: state for state in await self._store.states()}
        for name in sorted(self._held()):
            view = self._views[name]
            due_seconds = view.due_seconds(states.get(name))
            if due_seconds == 0.0 and not self.stopping:
                await self._refresh(view)
                due_seconds = _WAIT_SECONDS_MIN
            if due_seconds is not None:
                waits.append(max(due_seconds, _WAIT_SECONDS_MIN))
        return min(waits)

    async def _refresh(self, view: MaterializedView) -> None:
        try:
            crash_point("projection.before-refresh")
            state = await self._store.refresh(view)
            crash_point("projection.refreshed")
        except ConcurrencyConflict:
            text = "%s: '%s' is being refreshed by another process; next attempt when it is due"
            _log.info(text, self.outages.titled(self.name), view.name)
        except Unavailable:
            raise
        except FreeholdError as error:
            text = "%s: '%s' was not refreshed: %s; it is retried when it is due"
            _log.warning(text, self.outages.titled(self.name), view.name, error.message)
        else:
            self.refreshed += 1
            _log.debug("%s: '%s' refreshed in %.3f s", self.name, view.name, state.duration_seconds)
