"""The loop that sends scheduled messages when they are due. Pattern: imports the foundation and its own package."""

from __future__ import annotations

from collections.abc import Callable

from freehold.clock import Clock
from freehold.lifecycle import Runner
from freehold.schedule.store import ScheduleStore

__all__ = ["ScheduleRunner"]

_MOVE_LIMIT = 200
_NEXT_SECONDS_MIN = 0.005


class ScheduleRunner(Runner):
    """Moves due messages to the outbox and tells the relay. Any number of instances: a message moves once.

    `wake` after a commit that scheduled something; `poll_seconds` is for what other processes scheduled.
    """

    def __init__(
        self,
        service: str,
        schedule: ScheduleStore,
        *,
        on_moved: Callable[[], None],
        clock: Clock | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        super().__init__(f"schedule {service}", clock=clock)
        self.moved = 0
        self._schedule = schedule
        self._on_moved = on_moved
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Move what is due until stopped."""
        while not self.stopping:
            moved = await self._schedule.move_due(_MOVE_LIMIT)
            self.healthy()
            if moved:
                self.moved += moved
                self._on_moved()
                continue
            next_seconds = await self._schedule.next_due_seconds()
            wanted = self._poll_seconds if next_seconds is None else max(next_seconds, _NEXT_SECONDS_MIN)
            await self.wait(min(wanted, self._poll_seconds))
