"""The runner that deletes old rows from Freehold's tables. Runtime: iterates over the declarations of patterns."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.lifecycle import Runner, RunnerState
from freehold.pattern import Pruning

__all__ = ["PRUNE", "PruneRunner"]

PRUNE: Final = "prune"
"""The role of this runner: every service has it."""
_log = logging.getLogger("freehold.prune")
_CHUNK = 1000
_CHUNKS_MAX = 50
_BETWEEN_CHUNKS_SECONDS = 0.02

Prune = Callable[[float, int], Awaitable[int]]


class PruneRunner(Runner):
    """Deletes rows past their retention every `prune_interval_seconds`, in chunks with a short pause between them.

    Any number of instances may run it at once: deleting is idempotent.
    """

    def __init__(self, context: ServiceContext, pruning: Iterable[Pruning]) -> None:
        settings = context.settings
        super().__init__(f"prune {settings.service}", clock=context.clock)
        self.deleted: dict[str, int] = {}
        self._interval_seconds = settings.prune_interval_seconds
        self._targets: dict[str, tuple[Prune, float]] = {
            each.name: (partial(each.prune, context), each.keep_seconds(settings))
            for each in pruning
            if each.port in context.stores
        }

    async def run(self) -> None:
        """Prune until stopped."""
        while not self.stopping:
            # After a failure try again at once: the runner counts as failing until a round succeeds.
            if self.state is not RunnerState.FAILING:
                await self.wait(self._interval_seconds)
            for name, (prune, older_than_seconds) in self._targets.items():
                await self._prune(name, prune, older_than_seconds)
            self.healthy()

    async def _prune(self, name: str, prune: Prune, older_than_seconds: float) -> None:
        for _ in range(_CHUNKS_MAX):
            if self.stopping:
                return
            crash_point("prune.before")
            deleted = await prune(older_than_seconds, _CHUNK)
            crash_point("prune.pruned")
            self.deleted[name] = self.deleted.get(name, 0) + deleted
            if deleted < _CHUNK:
                return
            await self.wait(_BETWEEN_CHUNKS_SECONDS)
        text = "%s: more than %d rows of %s are past their retention; the rest is deleted in the next rounds"
        _log.info(text, self.outages.titled(self.name), _CHUNK * _CHUNKS_MAX, name)
