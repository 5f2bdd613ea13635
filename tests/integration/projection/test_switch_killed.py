"""A process is killed in the middle of a switch on MariaDB, where no statement that changes a view is undone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.forking import forked
from tests.integration.projection.dying import killed
from tests.integration.projection.rebuilding import append_history, cold_fold, declared, settings_for
from tests.integration.projection.switch_victim import STEPS
from tests.integration.projection.test_rebuild_killed import up_to_date

from freehold import RunningService
from freehold.projection.store import CHECKPOINTS
from freehold.sql import SQL

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
EVENT_COUNT = 400
BEFORE, AFTER = {1: "live", 2: "building"}, {1: "retired", 2: "live"}
LEFT = {"both": BEFORE, "row": BEFORE, "commit": AFTER, "view": AFTER}
_DEFINITION = """SELECT VIEW_DEFINITION FROM information_schema.VIEWS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'payments_of'"""


async def _states(running: RunningService) -> dict[int, str]:
    generations = await running.stores[CHECKPOINTS].generations("payments-of")
    return {each.number: each.state.value for each in generations}


async def _read(running: RunningService, table: sa.Table) -> list[tuple[Any, ...]]:
    async with running.transaction() as tx:
        return sorted(tuple(row) for row in await tx.connection.execute(sa.select(table)))


async def _reads_both(running: RunningService) -> bool:
    async with running.stores[SQL].direct() as sql:
        return " union all " in str((await sql.fetch(_DEFINITION))[0][0])


async def _process(url: str, step: str) -> int:
    process = await forked("tests.integration.projection.switch_victim", url, step)
    return await process.wait()


@pytest.mark.parametrize("step", STEPS)
async def test_readers_see_one_whole_set_after_a_kill_at_each_step_and_the_next_process_ends_it(
    mariadb_url: str, step: str
) -> None:
    first, table = declared(1)
    async with RunningService(first, settings_for(mariadb_url), roles=["projections"]) as running:
        history = await append_history(running, EVENT_COUNT, seed=7)
        await up_to_date(running)
    expected = sorted((customer, *row) for customer, row in cold_fold(history).items())
    second, _ = declared(2)
    async with RunningService(second, settings_for(mariadb_url), roles=()) as running:
        assert killed(await _process(mariadb_url, step))
        assert await _states(running) == LEFT[step]
        assert await _reads_both(running) == (step != "view")
        assert await _read(running, table) == expected
        assert await _process(mariadb_url, "") == 0
        assert await _states(running) == AFTER
        assert await _read(running, table) == expected
