"""A generation that is dropped leaves nothing: no table, no view, no lease."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.integration.projection.beside import WHO, actions_of, live_is, states
from tests.integration.projection.engines import WITH_MARIADB, empty_database
from tests.integration.projection.models import Deposited, settings_for, until

from freehold import RunningService, Service
from freehold.errors import DatabaseError
from freehold.leases.store import LEASES
from freehold.ports import Stores
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.generations import lease_prefix
from freehold.projection.rebuild_runner import RebuildRunner
from freehold.projection.store import CHECKPOINTS


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


def declared(version: int, *names: str) -> tuple[Service, Projection]:
    """A projection that writes nothing into tables of these names."""
    metadata = sa.MetaData()
    tables = tuple(sa.Table(name, metadata, sa.Column("id", sa.Text, primary_key=True)) for name in names)
    projection = Projection("dropped", version=version, tables=tables, partitions=2)

    @projection.on(Deposited)
    async def deposited(event: Deposited, write: ProjectionContext) -> None:
        """Nothing."""

    service = Service("bank")
    service.projects(projection)
    return service, projection


async def exists(stores: Stores, name: str) -> bool:
    try:
        async with stores.database.begin() as db_tx:
            await db_tx.native.execute(sa.text(f"SELECT * FROM {name}"))
    except DatabaseError:
        return False
    return True


async def _only(running: RunningService, number: int) -> bool:
    return list(await states(running)) == [number]


async def _has_no_leases(running: RunningService, number: int) -> bool:
    return await leases(running.stores, number) == []


async def _has_leases(running: RunningService, number: int) -> bool:
    return await leases(running.stores, number) != []


async def leases(stores: Stores, generation: int) -> list[str]:
    return [each.name for each in await stores[LEASES].list(lease_prefix("dropped", generation))]


@pytest.mark.parametrize("command", [True, False], ids=["by command", "by itself"])
async def test_tables_and_leases_go_with_their_generation(url: str, *, command: bool) -> None:
    """Of a table that only the old version declares, too, and leases that a process left behind that was killed."""
    first, _ = declared(1, "held", "left_out")
    async with RunningService(first, settings_for(url)) as running:
        await until(lambda: live_is(running, 1))
    second, projection = declared(2, "held")
    async with RunningService(second, settings_for(url)) as running:
        stores = running.stores
        await until(lambda: live_is(running, 2))
        assert [each.tables for each in await stores[CHECKPOINTS].generations("dropped")] == [
            ("held", "left_out"),
            ("held",),
        ]
        await stores[LEASES].ensure([lease_prefix("dropped", 1) + each for each in ("0", "1", "member/killed")])
        if command:
            await actions_of(running).drop("dropped", 1, **WHO)
        else:
            runner = RebuildRunner(
                "bank",
                stores.database,
                actions_of(running).history,
                stores[LEASES],
                [projection],
                retention_seconds=0.0,
                poll_seconds=0.05,
            )
            await runner.start()
            await until(lambda: _only(running, 2))
            await until(lambda: _has_no_leases(running, 1))
            await runner.stop()
        for name in ("held__g1", "left_out__g1", "left_out"):
            assert not await exists(stores, name)
        assert await exists(stores, "held")
        assert await leases(stores, 1) == []
        await until(lambda: _has_leases(running, 2))
