"""A read model in a SQLite file of its own, as a sink; `python -m` runs it, and dies behind a write when told to."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.integration.projection.models import Deposited, settings_for

from freehold import Service, run
from freehold.errors import Unavailable
from freehold.projection.declaration import Projection, SinkEvent

__all__ = ["FileSink", "sinking"]


class FileSink:
    """Balances, each with the position of its last change; what is not later than that is passed over.

    `die_after` kills the process behind so many writes. `failing` are amounts that it refuses, `away` how many writes
    fail before it can be reached.
    """

    def __init__(self, path: Path, die_after: int = 0) -> None:
        self.path = path
        self.die_after = die_after
        self.failing: set[int] = set()
        self.away = 0
        self.writes = 0

    async def prepare(self, generation: int) -> None:
        with sqlite3.connect(self.path) as file:
            file.execute(
                f"CREATE TABLE IF NOT EXISTS balance_{int(generation)}"
                " (account TEXT PRIMARY KEY, balance INTEGER, events INTEGER, position INTEGER)"
            )

    async def write(self, generation: int, changes: Sequence[SinkEvent]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the file is away")
        with sqlite3.connect(self.path) as file:
            for change in changes:
                if change.event.amount in self.failing:
                    raise ValueError("planned")
                file.execute(
                    f"INSERT INTO balance_{int(generation)} AS b VALUES (?, ?, 1, ?) ON CONFLICT (account) DO UPDATE"
                    " SET balance = b.balance + excluded.balance, events = b.events + 1, position = excluded.position"
                    " WHERE b.position < excluded.position",
                    (change.event.account, change.event.amount, change.position),
                )
        self.writes += 1
        if self.writes == self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    async def show(self, generation: int) -> None:
        with sqlite3.connect(self.path) as file:
            file.execute("DROP VIEW IF EXISTS balance")
            file.execute(f"CREATE VIEW balance AS SELECT * FROM balance_{int(generation)}")

    async def drop(self, generation: int) -> None:
        with sqlite3.connect(self.path) as file:
            file.execute(f"DROP TABLE IF EXISTS balance_{int(generation)}")

    def balances(self) -> dict[str, tuple[int, int]]:
        """Balance and number of events by account, as readers see them."""
        with sqlite3.connect(self.path) as file:
            return {row[0]: (row[1], row[2]) for row in file.execute("SELECT account, balance, events FROM balance")}


def sinking(sink: FileSink) -> tuple[Service, Projection]:
    """A service with a projection into the sink."""
    service = Service("bank")
    projection = Projection("balances", sink=sink, events=(Deposited,), categories={"account"}, batch_limit=10)
    service.projects(projection)
    return service, projection


if __name__ == "__main__":
    url, path, die_after = sys.argv[1:]
    asyncio.run(run(sinking(FileSink(Path(path), int(die_after)))[0], settings={"bank": settings_for(url)}))
