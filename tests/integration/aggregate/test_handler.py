"""Aggregates in a running service: commands that come as messages, and one that comes over HTTP at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.aggregate.shapes import ACCOUNT, Deposit

from freehold import Repository, Runtime, Service, Settings, SnapshotPolicy, Transaction, command

REPOSITORY = Repository(ACCOUNT, snapshots=SnapshotPolicy(every=5), publish=True)
_COMMANDS = 40


@command("bank.deposit-one")
class DepositOne:
    account: str


def make_bank(done: asyncio.Semaphore) -> Service:
    """A service whose commands of one account come in all partitions, so that they meet each other."""
    bank = Service("bank")

    @bank.handles(DepositOne)
    async def deposit_one(message: DepositOne, tx: Transaction) -> None:
        await REPOSITORY.execute(tx, message.account, Deposit(1))
        tx.staging.after_commit(done.release)

    return bank


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def test_messages_and_requests_meet_on_one_account(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    """Commands of a batch compose in one transaction; one that met somebody else is handled again. Each counts once."""
    url = f"sqlite:///{tmp_path}/bank.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    done = asyncio.Semaphore(0)
    settings = Settings(service="bank", database=url, broker="memory://")
    async with Runtime(make_bank(done), settings={"bank": settings}) as runtime, asyncio.timeout(60):
        service = runtime["bank"]
        async with service.transaction() as tx:
            for _ in range(_COMMANDS):
                tx.send(DepositOne("shared"))
        for _ in range(10):
            await REPOSITORY.handle(service, "shared", Deposit(1))
        seen = (0, 0)
        while seen[0] < _COMMANDS + 10:
            await done.acquire()
            async with service.transaction() as tx:
                loaded = await REPOSITORY.load(tx, "shared")
            seen = loaded.state.amount, loaded.version
        assert seen == (_COMMANDS + 10, _COMMANDS + 10)
        assert not (await service.health()).metrics["dead_letters"]
