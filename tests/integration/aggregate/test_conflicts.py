"""Tasks and processes that want the same aggregate: each command takes effect once, decided on the state before it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.forking import ForkedProcess, forked
from tests.integration.aggregate.bank import Bank, open_bank
from tests.unit.aggregate.shapes import ACCOUNT, Account, Deposit, Open, Overdrawn, Withdraw

from freehold.aggregate import Repository, SnapshotPolicy
from freehold.policy import Retry

_MANY = Retry(attempts=100, delay_seconds=0.002, delay_seconds_max=0.05)


@pytest.mark.parametrize("model", [ACCOUNT, Account], ids=["decider", "class"])
async def test_tasks_that_conflict_decide_on_fresh_state(bank: Bank, model: Any) -> None:
    """Of sixteen that want one of ten, ten get it."""
    repository: Repository[Any] = Repository(model, snapshots=SnapshotPolicy(every=4), publish=True)
    await repository.handle(bank.transactions, 1, Open("Ada", 10))

    async def withdraw() -> bool:
        try:
            await repository.handle(bank.transactions, 1, Withdraw(1), retry=_MANY)
        except Overdrawn:
            return False
        return True

    assert sorted(await asyncio.gather(*(withdraw() for _ in range(16)))) == [False] * 6 + [True] * 10
    async with bank.transactions.begin() as tx:
        loaded = await repository.load(tx, 1)
    assert (loaded.state.amount, loaded.version) == (0, 12)


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def test_processes_that_conflict_decide_on_fresh_state(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    """Two processes with two tasks each want eighty of sixty."""
    url = f"sqlite:///{tmp_path}/bank.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    async with open_bank(url) as bank:
        repository = Repository(ACCOUNT)
        await repository.handle(bank.transactions, "shared", Open("Ada", 60))
        writers = [await _start(url) for _ in range(2)]
        try:
            async with asyncio.timeout(200):
                for writer in writers:
                    assert await _line(writer) == "ready"
                for writer in writers:
                    writer.stdin.write(b"go\n")
                counts = [int(await _line(writer)) for writer in writers]
                await asyncio.gather(*(writer.wait() for writer in writers))
        finally:
            for writer in writers:
                await writer.end()
        async with bank.transactions.begin() as tx:
            loaded = await repository.load(tx, "shared")
        assert sum(counts) == 60
        assert (loaded.state.amount, loaded.version) == (0, 62)
        assert (await repository.handle(bank.transactions, "shared", Deposit(1))).version == 63


async def _start(url: str) -> ForkedProcess:
    return await forked("tests.integration.aggregate.writer", url, "20")


async def _line(process: ForkedProcess) -> str:
    return (await process.stdout.readline()).decode().strip()
