"""Read models that are parked, retried, paused, rebuilt, switched, replayed, and shown by a sink and a view, in a
process that is killed. Imports the read model of the tests of projections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from tests.faults.crashes.campaign import KeptScenario
from tests.integration.projection.models import Deposited, append, read_model, until
from tests.integration.projection.sinks import FileSink

from freehold.errors import ConcurrencyConflict, NotFound
from freehold.eventstore.store import EVENTS
from freehold.policy import Retry
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.operations import ProjectionOperations
from freehold.projection.replay import TimeRange
from freehold.projection.replay_operations import ReplayOperations
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.projection.view_store import MaterializedView
from freehold.runtime import RunningService
from freehold.runtime.database_schema import prepare
from freehold.service import Service
from freehold.settings import Settings
from freehold.sql import SQL
from freehold.testing import settled

__all__ = ["ReadModels"]

_WHO: Final = {"actor": "tests", "reason": "a crash point"}
_AMOUNTS: Final = {"a": (1, 2, 3), "b": (10, 13, 20), "c": (100,)}
"""The deposits of each account; 13 cannot be handled until a file says so."""
_LATE: Final = ("c", 200)
_QUIET_SECONDS: Final = 150.0


class ReadModels(KeptScenario):
    """One service; each step is made again where it is not known to be done."""

    life_seconds = 240.0

    async def life(self, place: Path) -> None:
        """Everything in version 1, then version 2 is deployed."""
        if not (place / "deployed").exists():
            await self._first_version(place)
            (place / "deployed").touch()
        async with RunningService(_bank(place, 2), _settings(place)) as running:
            await until(lambda: _is_live(running, 2), _QUIET_SECONDS)
            await _append_once(running, *_LATE)
            await settled(running, timeout_seconds=_QUIET_SECONDS)
            await until(lambda: _view_has(running, 7), _QUIET_SECONDS)

    async def _first_version(self, place: Path) -> None:
        unstarted = RunningService(_bank(place, 1), _settings(place), roles=())
        async with unstarted:
            await prepare(unstarted.context, unstarted.patterns)
        async with RunningService(_bank(place, 1), _settings(place)) as running:
            for account, amounts in _AMOUNTS.items():
                await _append_once(running, account, *amounts)
            operations = ProjectionOperations(running.context)
            replays = ReplayOperations(operations)
            if not (place / "mended").exists():
                await until(lambda: _are_parked(running), _QUIET_SECONDS)
                await asyncio.sleep(0.3)
                (place / "mended").touch()
            await operations.resume("strict", **_WHO)
            await until(lambda: _all_released(running, operations), _QUIET_SECONDS)
            await settled(running, timeout_seconds=_QUIET_SECONDS)
            await operations.rebuild_key("accounts", "account-a", **_WHO)
            await self._rebuild(running, operations)
            with suppress(NotFound):  # an earlier life has dropped it
                await operations.drop("accounts", 1, **_WHO)
            replay = await replays.begin("accounts", TimeRange(), "new", **_WHO)
            async for _ in replays.steps(replay):
                pass

    async def _rebuild(self, running: RunningService, operations: ProjectionOperations) -> None:
        generations = await running.stores[CHECKPOINTS].generations("accounts")
        if len(generations) == 1:
            await operations.rebuild("accounts", **_WHO)
        async with asyncio.timeout(_QUIET_SECONDS):
            while True:
                try:
                    await operations.switch("accounts", actor="tests", reason="a crash point")
                except ConcurrencyConflict:
                    await asyncio.sleep(0.05)
                except NotFound:  # an earlier life has switched
                    return
                else:
                    return

    async def check(self, place: Path) -> Sequence[str]:
        """Every read model has each event once, in its place."""
        wanted = {account: (sum(amounts), len(amounts)) for account, amounts in _AMOUNTS.items()}
        wanted["c"] = (wanted["c"][0] + _LATE[1], 2)
        running = RunningService(_bank(place, 2), _settings(place), roles=())
        async with running:
            async with running.stores[SQL].direct() as sql:
                rows = await sql.fetch("SELECT account, balance, events, version FROM account")
                entries = await sql.fetch("SELECT account, count(*), sum(amount) FROM entry GROUP BY account")
                strict = await sql.fetch("SELECT account, total FROM strict")
            parked = await running.stores[CHECKPOINTS].count_parked()
            generations = await running.stores[CHECKPOINTS].generations()
        live = [each.projection for each in generations if each.state is GenerationState.LIVE]
        found = {
            "accounts": ({row[0]: (row[1], row[2]) for row in rows}, wanted),
            "versions": ({row[0]: row[3] for row in rows}, {account: count for account, (_, count) in wanted.items()}),
            "entries": ({row[0]: (row[2], row[1]) for row in entries}, wanted),
            "strict": ({row[0]: row[1] for row in strict}, {account: total for account, (total, _) in wanted.items()}),
            "sink": (FileSink(place / "sink.db").balances(), wanted),
            "parked": ({each: count for each, count in parked.items() if count}, {}),
            "live": (sorted(live), ["accounts", "balances", "strict"]),
        }
        return [f"{what}: {is_} and not {should}" for what, (is_, should) in found.items() if is_ != should]


class _Poison(set[int]):
    """The amounts that cannot be handled, until the file of their mending is there."""

    def __init__(self, mended: Path) -> None:
        super().__init__({13})
        self._mended = mended

    def __contains__(self, amount: object) -> bool:
        return super().__contains__(amount) and not self._mended.exists()


def _bank(place: Path, version: int) -> Service:
    poison = _Poison(place / "mended")
    model = read_model(
        poison=poison,
        version=version,
        partitions=1,
        key_columns={"account": "account", "entry": "account"},
        retry=Retry(attempts=400, delay_seconds=0.1, delay_seconds_max=0.1),
    )
    model.service.projects(
        Projection(
            "balances", sink=FileSink(place / "sink.db"), events=(Deposited,), categories={"account"}, partitions=1
        )
    )
    model.service.projects(_strict(poison))
    model.service.views(
        MaterializedView("deposits", "SELECT 1 AS one, count(*) AS number FROM freehold_event", ("one",), 0.3)
    )
    return model.service


def _strict(poison: AbstractSet[int]) -> Projection:
    """A projection that pauses itself at the first stream that it parks."""
    table = sa.Table(
        "strict",
        sa.MetaData(),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
    retry = Retry(attempts=400, delay_seconds=0.1, delay_seconds_max=0.1)
    strict = Projection("strict", tables=(table,), categories={"account"}, partitions=1, parked_max=0, retry=retry)

    @strict.on(Deposited)
    async def add(event: Deposited, write: ProjectionContext) -> None:
        if event.amount in poison:
            raise ValueError("planned")
        await write.sql.execute(
            f"INSERT INTO {write.name(table)} AS a (account, total) VALUES ($1, $2)"
            " ON CONFLICT (account) DO UPDATE SET total = a.total + excluded.total",
            (event.account, event.amount),
        )

    return strict


def _settings(place: Path) -> Settings:
    return Settings.load(
        "bank",
        environ={},
        database=f"sqlite:///{place}/bank.db?synchronous=normal",
        broker=f"embedded:///{place}/broker.db?synchronous=normal",
        poll_seconds=0.2,
        database_options={"lock_timeout_seconds": 30.0, "partitions": 1},
        broker_options={"partitions": 1},
        prune_interval_seconds=0.3,
    )


async def _append_once(running: RunningService, account: str, *amounts: int) -> None:
    """Append what the stream does not have: all of it is one transaction, and the last amount tells."""
    page = await running.stores[EVENTS].read_stream(f"account-{account}", after=0, limit=100)
    if not any(str(amounts[-1]).encode() in each.event.data for each in page):
        await append(running, account, *amounts)


async def _are_parked(running: RunningService) -> bool:
    return {name for (name, _), count in (await running.stores[CHECKPOINTS].count_parked()).items() if count} >= {
        "accounts",
        "strict",
    }


async def _all_released(running: RunningService, operations: ProjectionOperations) -> bool:
    """Whether nothing is parked; what waits for an operator after crashes is retried by one."""
    waits = False
    for name in ("accounts", "strict"):
        for parked in await running.stores[CHECKPOINTS].parked(name):
            waits = True
            if parked.due_seconds is None:
                try:
                    await operations.retry(name, parked.stream, **_WHO)
                except (ConcurrencyConflict, NotFound):
                    continue
    return not waits


async def _is_live(running: RunningService, version: int) -> bool:
    generations = await running.stores[CHECKPOINTS].generations("accounts")
    return any(each.state is GenerationState.LIVE and each.version == version for each in generations)


async def _view_has(running: RunningService, number: int) -> bool:
    async with running.stores[SQL].direct() as sql:
        rows = await sql.fetch("SELECT number FROM deposits")
    return bool(rows) and rows[0][0] >= number
