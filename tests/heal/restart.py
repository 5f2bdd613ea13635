"""A shop whose supervisor is killed or stopped while faults are on: the next one starts without faults.

Imports the trial and the shop's client.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psycopg
from tests.heal.processes import ended_by_themselves, restarts
from tests.heal.trial import Trial, TrialPlan, begin, look, patiently, until
from tests.integration.shop.ops.customers import ended, fill, place

from freehold.errors import FreeholdError
from freehold_shop.supervisor.client import Shop, start_shop
from freehold_shop.supervisor.plan import Plan, Profile
from freehold_shop.verify.readers import open_reader, postgres_dsn, sqlite_path

__all__ = ["NAME", "survive_the_supervisor"]

NAME = "supervisor-killed"
_BEFORE_THE_KILL = (
    "orders-database-full",
    "orders-database-read-only",
    "broker-at-its-limit",
    "orders-database-down",
    "orders-stopped",
)
_BEFORE_THE_STOP = ("poison-message", "orders-database-full", "orders-database-locked", "orders-stopped")
"""In both, `orders-stopped` is last: the stopped processes keep their locks, so no other fault could begin after it."""


async def survive_the_supervisor(shop: Shop, plan: TrialPlan) -> Trial:
    """Kill the supervisor under several faults, then stop the next one under others. No shop runs afterwards."""
    trial = Trial(NAME)
    with trial.noting():
        await fill(shop)
        order_ids = [await place(shop)]
        await _begin_all(shop, _BEFORE_THE_KILL, plan)
        os.kill(shop.supervisor_pid, signal.SIGKILL)

        async def died() -> bool:
            return not shop.is_alive()

        await until(died, plan, "the killed supervisor has ended")
        async with _again(shop, plan) as second:
            await _is_sound(second, plan)
            order_ids.append(await place(second))
            await _confirmed(second, order_ids)
            await _begin_all(second, _BEFORE_THE_STOP, plan)
        async with _again(shop, plan) as last:
            await _is_sound(last, plan)
            order_ids.append(await place(last))
            await _confirmed(last, order_ids)
            await look(last, trial, plan)
        trial.placed = len(order_ids)
    return trial


@contextlib.asynccontextmanager
async def _again(shop: Shop, plan: TrialPlan) -> AsyncIterator[Shop]:
    """The next shop on the same data."""
    started = await start_shop(
        Plan(shop.state_directory, profile=shop.profile, instances=plan.instances), ready_seconds=plan.limit_seconds
    )
    try:
        yield started
    finally:
        await started.stop()


async def _begin_all(shop: Shop, faults: Sequence[str], plan: TrialPlan) -> None:
    """Begin the faults; the processes of orders must then be stopped, and none may have ended."""
    lives = restarts(shop)
    for fault in faults:
        await begin(shop, fault, plan)

    async def are_stopped() -> bool:
        if ended := ended_by_themselves(shop, lives):
            raise FreeholdError("; ".join(ended))
        return {_process_state(pid) for pid in shop.pids()["orders"]} == {"T"}

    await until(are_stopped, plan, "the processes of orders are stopped")


async def _is_sound(shop: Shop, plan: TrialPlan) -> None:
    """Wait until no fault is on: one that left messages ends late. The databases must have no trace of any."""
    traces = await patiently(lambda: _traces(shop), plan)
    if traces:
        raise FreeholdError(f"the database of orders has traces of a fault: {traces}")

    async def none_is_on() -> bool:
        return not any(state.on for state in await shop.faults())

    await until(none_is_on, plan, "no fault of the shop before is on")


async def _confirmed(shop: Shop, order_ids: Sequence[str]) -> None:
    if (found := await ended(shop, order_ids)) != {"confirmed"}:
        raise FreeholdError(f"orders placed before and after it are {', '.join(sorted(found))}")


def _traces(shop: Shop) -> list[object]:
    """The traces of faults in the database of orders."""
    url = shop.databases["orders"]
    if shop.engine("orders") == "mariadb":
        query = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS UNION ALL SELECT 'read-only' WHERE @@read_only"
        with open_reader(url) as reader:
            return [trace for (trace,) in reader.rows(query)]
    if shop.profile is Profile.EMBEDDED:
        with contextlib.closing(sqlite3.connect(sqlite_path(url))) as file:
            return list(file.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'shop_%'"))
    with psycopg.connect(postgres_dsn(url)) as connection:
        found: list[object] = list(
            connection.execute(
                "SELECT tgname FROM pg_trigger WHERE tgname = 'shop_fault'"
                " UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'shop_fault'"
            )
        )
        read_only = connection.execute("SHOW default_transaction_read_only").fetchone()
    return found if read_only == ("off",) else [*found, read_only]


def _process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
