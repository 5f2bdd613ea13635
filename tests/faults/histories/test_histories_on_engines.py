"""What clients of services saw on real engines, checked as histories: sets and lists through outbox and inbox,
registers through aggregates, accounts through a saga.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from tests.faults.histories.appended import keeper
from tests.faults.histories.registers import Cas, Write, registers, shown, written
from tests.faults.histories.transfers import CLOSED, INITIAL, SERVICES, Order, Transfer, settings_of
from tests.forking import ForkedProcess, forked
from tests.integration.runtime.workers import settings_for

from freehold import ConcurrencyConflict, RunningService, Settings
from freehold.consistency.watcher import Fresh
from freehold.saga import SAGAS, SagaStatus
from freehold.testing import (
    HistoryRecorder,
    Operation,
    check_bank,
    check_list_append,
    check_register,
    check_set,
    read_history,
)

pytestmark = pytest.mark.timeout(600)
_LIMIT_SECONDS = 240.0


@dataclass(frozen=True)
class Ground:
    """The databases by service, the broker, the prefix on it, and the file of the history."""

    database: str
    broker: str
    prefix: str
    history: Path

    def of(self, service: str) -> str:
        return self.database.format(service=service)


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    history = tmp_path / "history.jsonl"
    if request.param == "embedded":
        yield Ground(f"sqlite:///{tmp_path}/{{service}}.db", f"embedded:///{tmp_path}/broker.db", "t", history)
        return
    url = request.getfixturevalue("postgres_url")
    names = [*(each.name for each in SERVICES), "appender", "keeper", "registers", "shown"]
    databases = [f"{url.rpartition('/')[2]}_{name}" for name in names]
    with psycopg.connect(url, autocommit=True) as connection:
        for name in databases:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        nats, prefix = request.getfixturevalue("nats_url"), request.getfixturevalue("nats_prefix")
        yield Ground(f"{url}_{{service}}", nats, prefix, history)
        for name in databases:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@asynccontextmanager
async def _process(module: str, *arguments: str, ready: bytes = b"ready\n") -> AsyncIterator[ForkedProcess]:
    process = await forked(f"tests.faults.histories.{module}", *arguments)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            assert await process.stdout.readline() == ready
        yield process
    finally:
        await process.end()


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.05)


async def _lists(watching: RunningService) -> dict[str, list[int]]:
    async with watching.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT name, number FROM kept ORDER BY position"))
        found: defaultdict[str, list[int]] = defaultdict(list)
        for name, number in rows:
            found[name].append(number)
    return found


async def test_sets_and_lists_through_outbox_and_inbox_while_processes_are_killed(ground: Ground) -> None:
    """A client and both holders of the list are killed in the middle of their work."""
    at = (ground.of("appender"), ground.broker, ground.prefix, str(ground.history))
    kept = ("keeper", ground.of("keeper"), ground.broker, ground.prefix)
    settings = settings_for("keeper", ground.of("keeper"), ground.broker, ground.prefix)
    reader = HistoryRecorder(ground.history, "reader")

    async with RunningService(keeper, settings, roles=()) as watching:

        async def read(how: str) -> None:
            for name in ("c1", "c2"):
                with reader.invoke(how, key=name) as reading:
                    reading.ok((await _lists(watching))[name])

        async def complete() -> bool:
            lists = await _lists(watching)
            acknowledged = [each for each in read_history(ground.history) if each.name == "append" and each.ok]
            return all(each.value in lists[each.key] for each in acknowledged)

        async with _process("appended", *kept) as first:
            async with _process("appended", "client", *at, "c1", "60", ready=b"half\n") as client:
                client.kill()
                first.kill()
                await read("peek")
            async with (
                _process("appended", *kept),
                _process("appended", "client", *at, "c2", "40", ready=b"half\n") as other,
            ):
                assert await other.stdout.readline() == b"done\n"
                await read("peek")
                await _until(complete)
                await read("read")
    history = read_history(ground.history)
    assert sum(each.ok for each in history if each.name == "append") >= 70
    assert check_list_append(history) == []
    assert check_set([_as_set(each) for each in history if each.key == "c1"]) == []


def _as_set(operation: Operation) -> Operation:
    return replace(operation, name="add") if operation.name == "append" else operation


async def test_registers_through_aggregates_with_tokens(ground: Ground) -> None:
    """Two processes' worth of clients write the same keys; each reads its own writes in another service."""

    def settings(name: str) -> Settings:
        plain = settings_for(name, ground.of(name), ground.broker, ground.prefix)
        return replace(plain, token_secret="a secret of this test alone")

    async with (
        RunningService(registers, settings("registers")) as one,
        RunningService(registers, settings("registers")) as other,
        RunningService(shown, settings("shown")) as showing,
    ):
        stale: list[str] = []

        async def client(name: str, running: RunningService) -> None:
            history = HistoryRecorder(ground.history, name)
            for number in range(12):
                key, value = f"k{number % 2}", f"{name}-{number}"
                with history.invoke("read", key=key) as reading:
                    async with running.transaction() as tx:
                        present = (await written.load(tx, key, must_exist=False)).state.value
                    reading.ok(present)
                wanted: Write | Cas = Write(value) if number % 3 == 0 else Cas(present, value)
                if isinstance(wanted, Cas):
                    invoked = history.invoke("cas", key=key, value=[present, value])
                else:
                    invoked = history.invoke("write", key=key, value=value)
                with invoked as writing:
                    try:
                        async with running.transaction() as tx:
                            done = await written.execute(tx, key, wanted)
                    except ConcurrencyConflict:
                        writing.fail()
                        continue
                    if not done.events:
                        writing.fail()
                        continue
                freshness = await showing.freshness.wait(tx.token, limit_seconds=_LIMIT_SECONDS)
                assert isinstance(freshness, Fresh), freshness
                async with showing.transaction() as reading_tx:
                    rows = await reading_tx.connection.execute(
                        text("SELECT version FROM shown WHERE name = :name"), {"name": key}
                    )
                    version = rows.scalar_one()
                if version < done.version:
                    stale.append(f"{value}: version {done.version} was written, and {version} is shown")

        async with asyncio.TaskGroup() as clients:
            for number, running in enumerate((one, other, one, other)):
                clients.create_task(client(f"c{number}", running))
    assert stale == []
    assert check_register(read_history(ground.history), initial="") == []


async def test_accounts_through_a_saga_while_its_process_is_killed(ground: Ground) -> None:
    arguments = (ground.database, ground.broker, ground.prefix)
    settings = settings_of(*arguments)
    async with (
        _process("transfers", *arguments) as first,
        RunningService(SERVICES[2], settings["teller"], roles=()) as teller,
    ):

        async def client(name: str, takers: list[str]) -> None:
            history = HistoryRecorder(ground.history, name)
            for number, taker in enumerate(takers):
                with history.invoke("transfer", value=[f"a{number % 2 + 1}", taker, 3]) as transfer:
                    async with teller.transaction() as tx:
                        saga_id = await Transfer.start(tx, Order(f"a{number % 2 + 1}", taker, 3))

                    await _until(partial(_has_ended, teller, saga_id))
                    if await _status(teller, saga_id) is SagaStatus.COMPENSATED:
                        transfer.fail()

        clients = asyncio.gather(client("c1", ["b1", CLOSED, "b1", "b1"]), client("c2", ["b1", "b1", CLOSED, "b1"]))
        await _until(lambda: _some_ended(teller))
        first.kill()
        async with _process("transfers", *arguments):
            await clients
    balances: dict[str, int] = {}
    for service in SERVICES[:2]:
        async with RunningService(service, settings[service.name], roles=()) as running, running.transaction() as tx:
            rows = await tx.connection.execute(text("SELECT name, balance FROM account"))
            balances |= {row[0]: row[1] for row in rows}
    with HistoryRecorder(ground.history, "reader").invoke("read") as reading:
        reading.ok(balances)
    history = read_history(ground.history)
    assert check_bank(history, INITIAL) == []
    assert balances[CLOSED] == INITIAL[CLOSED]


async def _status(teller: RunningService, saga_id: UUID) -> SagaStatus:
    async with teller.stores.database.begin() as db_tx:
        return (await teller.stores[SAGAS].load(db_tx, saga_id)).status


async def _has_ended(teller: RunningService, saga_id: UUID) -> bool:
    return await _status(teller, saga_id) in {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}


async def _some_ended(teller: RunningService) -> bool:
    counts = await teller.stores[SAGAS].count()
    return any(number for (_, status), number in counts.items() if status is SagaStatus.COMPLETED)
