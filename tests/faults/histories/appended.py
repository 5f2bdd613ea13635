"""Two services: clients of one append numbers, the other keeps them in its table. A client, or the other service, as a
process: `python -m … client DATABASE BROKER PREFIX HISTORY NAME COUNT`, `python -m … keeper DATABASE BROKER PREFIX`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from sqlalchemy import text
from tests.integration.runtime.workers import settings_for

from freehold import FreeholdError, Migration, RunningService, Service, Transaction, event
from freehold.testing import HistoryRecorder

_TABLES = {
    "sqlite": ["CREATE TABLE kept (position INTEGER PRIMARY KEY, name TEXT NOT NULL, number INTEGER NOT NULL)"],
    "postgresql": [
        """CREATE TABLE kept (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, number integer NOT NULL
        )"""
    ],
}


@event("appender.appended", key="name")
class Appended:
    name: str
    number: int


appender = Service("appender")
keeper = Service("keeper", migrations=[Migration("100-kept", _TABLES)])


@keeper.handles(Appended)
async def keep(appended: Appended, tx: Transaction) -> None:
    await tx.connection.execute(
        text("INSERT INTO kept (name, number) VALUES (:name, :number)"),
        {"name": appended.name, "number": appended.number},
    )


async def append(running: RunningService, history: HistoryRecorder, name: str, number: int) -> None:
    """Append a number to the list of this name, whatever comes of it."""
    with contextlib.suppress(FreeholdError), history.invoke("append", key=name, value=number):
        async with running.transaction() as tx:
            tx.publish(Appended(name, number))


async def main(what: str, database: str, broker: str, prefix: str, *more: str) -> None:
    if what == "keeper":
        async with RunningService(keeper, settings_for("keeper", database, broker, prefix)):
            print("ready", flush=True)  # noqa: T201 - tells the test
            await asyncio.Event().wait()
    file, name, count = more
    history = HistoryRecorder(Path(file), name)
    async with RunningService(appender, settings_for("appender", database, broker, prefix)) as running:
        for number in range(int(count)):
            await append(running, history, name, number)
            if number == int(count) // 2:
                print("half", flush=True)  # noqa: T201 - tells the test
        print("done", flush=True)  # noqa: T201 - tells the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
