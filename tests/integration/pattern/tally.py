"""A pattern of a project's own, and a service that uses it: marks are kept with the commit, added up by a runner, and
pruned. Everything that it is stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import click

from freehold import Migration, Service, Transaction
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, table
from freehold.cli.project import Project
from freehold.context import ServiceContext, Signal
from freehold.database import CheckResult, DatabaseTransaction
from freehold.lifecycle import Runner
from freehold.pattern import Due, Metric, Need, Notice, Pattern, Pruning, Role, Trace, Traced, TraceQuery, traced
from freehold.ports import Port, provide
from freehold.sql import SqlAccess, sql_of

__all__ = ["TALLIES", "TALLY", "Tallies", "TallyRunner", "command", "mark", "till"]

_SERIAL: Final = "BIGINT GENERATED ALWAYS AS IDENTITY"
_TABLE: Final = "CREATE TABLE tally_mark (number {} PRIMARY KEY, name TEXT NOT NULL, counted INTEGER NOT NULL)"
MARKED: Final = Signal("marked")


class TallyStore(Protocol):
    """Marks by name, and what they add up to."""

    async def add(self, db_tx: DatabaseTransaction, names: Sequence[str]) -> None:
        """Add marks in a transaction."""

    async def add_up(self) -> int:
        """Count open marks; returns how many."""

    async def totals(self) -> Mapping[str, int]:
        """Counted marks by name."""

    async def open_count(self) -> int:
        """Marks that are not counted."""

    async def prune(self, limit: int) -> int:
        """Delete counted marks; returns how many."""


TALLIES: Final[Port[TallyStore]] = Port("tallies", "marks of a till", TallyStore)


class SqlTallies(TallyStore):
    """On each engine that speaks SQL."""

    def __init__(self, database: Any) -> None:
        self._access: SqlAccess = database

    async def add(self, db_tx: DatabaseTransaction, names: Sequence[str]) -> None:
        await sql_of(db_tx).execute_many("INSERT INTO tally_mark (name, counted) VALUES ($1, 0)", [(n,) for n in names])

    async def add_up(self) -> int:
        async with self._access.direct() as sql:
            return await sql.execute("UPDATE tally_mark SET counted = 1 WHERE counted = 0")

    async def totals(self) -> Mapping[str, int]:
        async with self._access.direct() as sql:
            rows = await sql.fetch(
                "SELECT name, count(*) FROM tally_mark WHERE counted = 1 GROUP BY name ORDER BY name"
            )
        return {str(name): int(number) for name, number in rows}

    async def open_count(self) -> int:
        async with self._access.direct() as sql:
            (row,) = await sql.fetch("SELECT count(*) FROM tally_mark WHERE counted = 0")
        return int(row[0])

    async def prune(self, limit: int) -> int:
        async with self._access.direct() as sql:
            return await sql.execute(
                "DELETE FROM tally_mark WHERE number IN"
                " (SELECT number FROM tally_mark WHERE counted = 1 ORDER BY number LIMIT $1)",
                (limit,),
            )


@dataclass(slots=True)
class Tallies:
    """What a service declares: the names that may be marked."""

    service: str
    names: set[str] = field(default_factory=set)


class TallyRunner(Runner):
    """Adds marks up, when it is woken."""

    def __init__(self, context: ServiceContext) -> None:
        super().__init__("tally", clock=context.clock)
        self._store = context.stores[TALLIES]

    async def run(self) -> None:
        """Count until stopped."""
        while not self.stopping:
            counted = await self._store.add_up()
            self.healthy()
            if not counted:
                await self.wait(3600.0)


def mark(tx: Transaction, name: str) -> None:
    """Add a mark with the commit."""
    context = tx.staging.context
    if name not in context.of(TALLY).names:
        raise ValueError(f"nobody declares '{name}'")

    async def write(names: list[str]) -> None:
        marks, names[:] = list(names), []
        await context.stores[TALLIES].add(tx.db_tx, marks)

    tx.staging.companion(TALLY.name, list[str], write, left=bool).append(name)
    tx.staging.after_commit(_tell(context))


def _tell(context: ServiceContext) -> Any:
    return lambda: context.emit(MARKED)


async def _open_count(context: ServiceContext) -> float:
    return float(await context.stores[TALLIES].open_count())


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    assert older_than_seconds == 0.0
    return await context.stores[TALLIES].prune(limit)


async def _notice(context: ServiceContext) -> str:
    waiting = await context.stores[TALLIES].open_count()
    return f"{waiting} marks are not counted" if waiting else ""


async def _trace(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    number = (await context.stores[TALLIES].totals()).get(query.text)
    if number is None:
        return []
    return [traced(context, "tally", None, query.text, None, waits_for=f"nothing: {number} are counted")]


async def _probe(context: ServiceContext) -> Sequence[CheckResult]:
    waiting = await context.stores[TALLIES].open_count()
    return [
        CheckResult("tallies", ok=not waiting, detail=f"{waiting} marks are not counted", fix="run the role 'tally'")
    ]


async def _due_seconds(context: ServiceContext) -> float | None:
    return -1000.0 if await context.stores[TALLIES].open_count() else None


@click.command("tally", help="Show what marks add up to.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show each service."""
    async with project.open(names) as opened:
        found = [(access.name, await access.stores[TALLIES].totals()) for access in opened.services]
    if as_json:
        answer_json({"tallies": dict(found)})
    else:
        table(
            "Tallies",
            ("service", "name", "marks"),
            [(s, n, m) for s, marks in found for n, m in marks.items()],
            empty="none",
        )
    return 0


TALLY: Final = Pattern[Tallies](
    "tally",
    "counts marks",
    declares=Tallies,
    needs=lambda declared: (Need("tally", (TALLIES,), sorted(declared.names)),),
    roles=(Role("tally", lambda context: [TallyRunner(context)], wakes_on={MARKED: TallyRunner}),),
    pruning=(Pruning("tallies", TALLIES, _prune, lambda _: 0.0),),
    due=(Due("marks", "tally", TALLIES, _due_seconds),),
    metrics=(Metric("open marks", "marks that are not counted", TALLIES, _open_count),),
    notices=(Notice("tallies", TALLIES, _notice),),
    probes=(_probe,),
    traces=(Trace(TALLIES, _trace),),
    describe=lambda declared: {"names": sorted(declared.names)},
    commands={"tally": "tests.integration.pattern.tally:command"},
    migrations=(
        Migration("tally-001", {"sqlite": (_TABLE.format("INTEGER"),), "postgresql": (_TABLE.format(_SERIAL),)}),
    ),
    provisions={"SQLite": (provide(TALLIES, SqlTallies),), "PostgreSQL": (provide(TALLIES, SqlTallies),)},
)

till = Service("till", patterns=(TALLY,))
till.of(TALLY).names.add("coffee")
