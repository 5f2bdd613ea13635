"""What a runner knows of its generation: the checkpoints that it works on, the streams that are parked, whether it is
to stand still. Imports the foundation and its package.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from freehold.clock import Clock
from freehold.projection.store import (
    ALL_GENERATIONS,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    ParkedKey,
)

__all__ = ["Standing"]

_PARKED_READ_MAX: Final = 100_000
"""All of them: a parked stream that is not known would be gone on with. `parked_max` keeps them few."""


class Standing:
    """As it was seen last; whatever is written is compared with it, so being late here does no harm.

    seen    checkpoints by partition, those that are held here; empty where all has to be looked at anew.
    parked  streams of these partitions that are parked, by name.
    """

    def __init__(self, generation: Generation, store: CheckpointStore, clock: Clock) -> None:
        self.generation = generation
        self.seen: dict[int, Checkpoint] = {}
        self.parked: dict[str, ParkedKey] = {}
        self.paused = False
        self.retired = False
        self._due: dict[str, float] = {}
        self._store = store
        self._clock = clock

    async def load(self, held: Collection[int]) -> None:
        """Look at everything anew; the checkpoints first, whose revisions tell of what changes after."""
        name, number = self.generation.projection, self.generation.number
        found = await self._store.checkpoints(name, number)
        self.retired = not found or found[0].state is GenerationState.RETIRED
        self.seen = {each.partition: each for each in found if each.partition in held}
        self.parked, self._due = {}, {}
        for parked in await self._store.parked(name, number, limit=_PARKED_READ_MAX):
            if parked.partition in held:
                self._note(parked)
        pauses = await self._store.pauses(name)
        self.paused = any(pause.generation in {ALL_GENERATIONS, number} for pause in pauses)

    async def look_at(self, stream: str) -> None:
        """Read what is known of one stream now."""
        self.parked.pop(stream, None)
        self._due.pop(stream, None)
        for parked in await self._store.parked(self.generation.projection, self.generation.number, stream=stream):
            self._note(parked)

    def due(self, limit: int) -> list[ParkedKey]:
        """Parked streams that are to be tried again now."""
        now = self._clock.monotonic()
        return [self.parked[stream] for stream, at in self._due.items() if at <= now][:limit]

    def seconds_to_due(self) -> float | None:
        """How long until the next one is; None where there is none."""
        if not self._due or self.paused:
            return None
        return max(0.0, min(self._due.values()) - self._clock.monotonic())

    def _note(self, parked: ParkedKey) -> None:
        self.parked[parked.stream] = parked
        if parked.due_seconds is not None:
            self._due[parked.stream] = self._clock.monotonic() + parked.due_seconds
