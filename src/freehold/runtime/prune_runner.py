"""The loop that keeps Freehold's tables bounded. Runtime: imports the foundation, the stores, the settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from freehold.clock import Clock
from freehold.deadletters.store import DEAD_LETTERS
from freehold.idempotency.store import IDEMPOTENCY
from freehold.inbox.store import INBOX
from freehold.lifecycle import Runner, RunnerState
from freehold.outbox.sent import SENT
from freehold.ports import Port, Stores
from freehold.projection.replay_store import REPLAYS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.saga.store import SAGAS
from freehold.settings import Settings

__all__ = ["PruneRunner"]

_log = logging.getLogger("freehold.prune")
_CHUNK = 1000
_CHUNKS_MAX = 50
_BETWEEN_CHUNKS_SECONDS = 0.02

Prune = Callable[[float, int], Awaitable[int]]


class PruneRunner(Runner):
    """Deletes what is past its retention, in chunks with a breath between them, every `prune_interval_seconds`.

    Any number of instances may run it: deleting twice is no harm.
    """

    def __init__(self, stores: Stores, settings: Settings, *, clock: Clock | None = None) -> None:
        super().__init__(f"prune {settings.service}", clock=clock)
        self.deleted: dict[str, int] = {}
        self._interval_seconds = settings.prune_interval_seconds
        self._targets: dict[str, tuple[Prune, float]] = {}
        if INBOX in stores:
            self._targets["inbox"] = partial(stores[INBOX].prune, settings.service), settings.dedup_window_seconds
        targets: tuple[tuple[str, Port[Any], float], ...] = (
            ("outbox-sent", SENT, settings.outbox_sent_retention_seconds),
            ("dead-letters", DEAD_LETTERS, settings.dead_letter_retention_seconds),
            ("sagas", SAGAS, settings.saga_retention_seconds),
            ("reconciliations", RECONCILIATIONS, settings.dead_letter_retention_seconds),
            ("replays", REPLAYS, settings.dead_letter_retention_seconds),
            ("idempotency", IDEMPOTENCY, settings.idempotency_retention_seconds),
        )
        self._targets |= {name: (stores[port].prune, seconds) for name, port, seconds in targets if port in stores}

    async def run(self) -> None:
        """Prune until stopped."""
        while not self.stopping:
            # What has failed is tried again at once, not after another interval: it would count as failing meanwhile.
            if self.state is not RunnerState.FAILING:
                await self.wait(self._interval_seconds)
            for name, (prune, older_than_seconds) in self._targets.items():
                await self._prune(name, prune, older_than_seconds)
            self.healthy()

    async def _prune(self, name: str, prune: Prune, older_than_seconds: float) -> None:
        for _ in range(_CHUNKS_MAX):
            if self.stopping:
                return
            deleted = await prune(older_than_seconds, _CHUNK)
            self.deleted[name] = self.deleted.get(name, 0) + deleted
            if deleted < _CHUNK:
                return
            await self.wait(_BETWEEN_CHUNKS_SECONDS)
        told = self.outages.titled(self.name)
        text = "%s: more than %d rows of %s are past their time; the others are deleted in the next rounds"
        _log.info(text, told, _CHUNK * _CHUNKS_MAX, name)
