"""A service that uses everything that lies in a database: for roles that may make nothing in it, and for processes that
start at once. `python -m` with a word starts it when it reads a line, and stops it at the next.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import sqlalchemy as sa

from freehold import (
    Dataset,
    MaterializedView,
    Migration,
    Projection,
    ProjectionContext,
    Retry,
    RunningService,
    Saga,
    Service,
    Transaction,
    command,
    event,
    step,
)

__all__ = ["ADMITTED", "APP", "PATIENTS", "Admit", "Admitted", "Care", "Case", "Seen", "clinic"]

APP = "tests.integration.runtime.clinic"
_TABLES = Migration(
    "100-tables",
    {
        "": [
            "CREATE TABLE patient (name varchar(100) NOT NULL PRIMARY KEY, visits integer NOT NULL)",
            "CREATE TABLE copied (name varchar(100) NOT NULL PRIMARY KEY, visits integer NOT NULL)",
            "CREATE TABLE bed (name varchar(100) NOT NULL PRIMARY KEY)",
        ]
    },
)
clinic = Service("clinic", migrations=[_TABLES], retry=Retry(attempts=1))
PATIENTS = Dataset("clinic.patients", key="name", fields=("visits",))
clinic.publishes_dataset(PATIENTS, table="patient")


@command("clinic.admit", key="name")
class Admit:
    name: str
    fails: bool = False


@command("clinic.free", key="name")
class Free:
    name: str


@event("clinic.admitted", key="name")
class Admitted:
    name: str


@event("clinic.seen", key="name")
class Seen:
    name: str


@dataclass(frozen=True, slots=True)
class Case:
    name: str


@clinic.orchestrates
class Care(Saga[Case], name="clinic.care", key="name"):
    admit = step(Admit, compensation=Free)


@clinic.handles(Admit)
async def admit(message: Admit, tx: Transaction) -> None:
    if message.fails:
        raise ValueError("planned")
    if not await tx.sql.execute("UPDATE patient SET visits = visits + 1 WHERE name = $1", (message.name,)):
        await tx.sql.execute("INSERT INTO patient (name, visits) VALUES ($1, 1)", (message.name,))
    tx.append(f"patient-{message.name}", Seen(message.name))
    tx.publish(Admitted(message.name))


@clinic.handles(Free)
async def free(message: Free, tx: Transaction) -> None:
    await tx.sql.execute("DELETE FROM bed WHERE name = $1", (message.name,))


@clinic.handles(Admitted)
async def admitted(message: Admitted, tx: Transaction) -> None:
    await tx.sql.execute("DELETE FROM bed WHERE name = $1", (message.name,))
    await tx.sql.execute("INSERT INTO bed (name) VALUES ($1)", (message.name,))


_metadata = sa.MetaData()
SEEN = sa.Table("seen", _metadata, sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False))
ADMITTED = sa.Table("at_once", _metadata, sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False))


def _projection(name: str, table: sa.Table, *, inline: bool) -> Projection:
    projection = Projection(name, tables=(table,), inline=inline)

    @projection.on(Seen)
    async def seen(message: Seen, write: ProjectionContext) -> None:
        await write.connection.execute(write.table(table).insert().values(position=write.recorded.position))

    return projection


clinic.projects(_projection("seen", SEEN, inline=False))
clinic.projects(_projection("at-once", ADMITTED, inline=True))
clinic.views(MaterializedView("visits", "SELECT name, visits FROM patient", key=("name",), refresh_seconds=0.2))


async def main() -> None:
    """Say when it waits, and when it has started."""
    await _said("waiting")
    async with RunningService(clinic):
        await _said("ready")


async def _said(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - tells the test
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main())
