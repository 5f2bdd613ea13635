"""The runner that sends scheduled messages when they are due.

Pattern: imports the foundation, the store of the outbox and its own package.
"""

from __future__ import annotations

from collections.abc import Callable

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.lifecycle import Runner
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.schedule.store import SCHEDULE

__all__ = ["ScheduleRunner", "send_due"]

_MOVE_LIMIT = 200
_NEXT_SECONDS_MIN = 0.005


async def send_due(stores: Stores, limit: int) -> int:
    """Move due messages to the outbox in one transaction, oldest first, `limit` at most; returns how many. 0 also while
    another process moves some.
    """
    async with stores.database.begin() as db_tx:
        due = await stores[SCHEDULE].take_due(db_tx, limit)
        if due:
            crash_point("schedule.taken")
            await stores[OUTBOX].stage_last(db_tx, due)
            crash_point("schedule.before-commit")
    crash_point("schedule.committed")
    return len(due)


class ScheduleRunner(Runner):
    """Moves due messages to the outbox, and then calls `on_moved`, which wakes the relay. Any number of runners may
    work at the same time: a message is moved once.

    `poll_seconds` is the longest delay of messages that other processes scheduled; after a commit in this process,
    `wake` ends the wait.
    """

    def __init__(
        self,
        service: str,
        stores: Stores,
        *,
        on_moved: Callable[[], None],
        clock: Clock | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        super().__init__(f"schedule {service}", clock=clock)
        self.moved = 0
        self._stores = stores
        self._on_moved = on_moved
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Move due messages until stopped. A transaction begins only where a message is due."""
        while not self.stopping:
            next_seconds = await self._stores[SCHEDULE].next_due_seconds()
            if next_seconds is not None and next_seconds <= 0.0:
                moved = await send_due(self._stores, _MOVE_LIMIT)
                if moved:
                    self.healthy()
                    self.moved += moved
                    self._on_moved()
                    continue
            self.healthy()
            wanted = self._poll_seconds if next_seconds is None else max(next_seconds, _NEXT_SECONDS_MIN)
            await self.wait(min(wanted, self._poll_seconds))
