"""The service of the databases in this directory, as this release declares it, in calm weather: nothing fails any more.

`sqlite.sql` and `postgres.sql` are dumps of databases that the last commit before the first release's schema made, with
work of every kind in flight; `make_database.txt` is the program, and says how.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from freehold import (
    Migration,
    Projection,
    ProjectionContext,
    Rejected,
    Saga,
    Service,
    Transaction,
    command,
    event,
    step,
)

__all__ = ["Arrived", "harbor", "tonnage"]

harbor = Service(
    "harbor", migrations=[Migration("001-done", {"": ["CREATE TABLE done (ship text NOT NULL, what text NOT NULL)"]})]
)


@event("harbor.arrived", key="ship")
class Arrived:
    ship: str
    n: int


@command("harbor.reserve", key="ship")
class Reserve:
    ship: str


@command("harbor.release", key="ship")
class Release:
    ship: str


@command("harbor.load", key="ship")
class Load:
    ship: str


@event("harbor.weighed", key="ship")
class Weighed:
    ship: str
    tons: int


@dataclass(frozen=True, slots=True)
class Visit:
    ship: str


@harbor.orchestrates
class Loading(Saga[Visit], name="harbor.loading", key="ship"):
    reserve = step(Reserve, compensation=Release)
    load = step(Load, no_compensation=True, after=reserve)


async def _done(tx: Transaction, ship: str, what: str) -> None:
    await tx.sql.execute("INSERT INTO done (ship, what) VALUES ($1, $2)", (ship, what))


@harbor.handles(Arrived)
async def arrived(message: Arrived, tx: Transaction) -> None:
    await _done(tx, message.ship, f"arrived {message.n}")


@harbor.handles(Reserve)
async def reserve(message: Reserve, tx: Transaction) -> None:
    await _done(tx, message.ship, "reserved")


@harbor.handles(Release)
async def release(message: Release, tx: Transaction) -> None:
    await _done(tx, message.ship, "released")


@harbor.handles(Load)
async def load(message: Load, tx: Transaction) -> Rejected | None:
    if message.ship == "refused":
        return Rejected("full")
    await _done(tx, message.ship, "loaded")
    return None


tonnage = sa.Table(
    "tonnage",
    sa.MetaData(),
    sa.Column("ship", sa.Text, primary_key=True),
    sa.Column("tons", sa.BigInteger, nullable=False),
)
weights = Projection(
    "weights",
    tables=(tonnage,),
    categories={"ship"},
    partitions=2,
    batch_limit=5,
    key_columns={"tonnage": "ship"},
)


@weights.on(Weighed)
async def weighed(event: Weighed, write: ProjectionContext) -> None:
    await write.sql.execute(
        f"INSERT INTO {write.name(tonnage)} AS t (ship, tons) VALUES ($1, $2)"
        " ON CONFLICT (ship) DO UPDATE SET tons = t.tons + excluded.tons",
        (event.ship, event.tons),
    )


harbor.projects(weights)
