"""Snapshots: kept when they are due, used where they fit, and never a reason for a wrong state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest
from tests.integration.aggregate.bank import Bank
from tests.unit.aggregate.shapes import ACCOUNT, Account, Balance, Deposit, Deposited, Open, Overdrawn, Withdraw

from freehold.aggregate import Decider, LoadedAggregate, Repository, SnapshotPolicy
from freehold.aggregate.snapshots import StateCodec
from freehold.aggregate.store import SNAPSHOTS, Snapshot
from freehold.context import ServiceContext
from freehold.eventstore.store import EVENTS, EventStore
from freehold.transaction import Transactions

EVERY_3 = SnapshotPolicy(every=3)
BOTH = pytest.mark.parametrize("model", [ACCOUNT, Account], ids=["decider", "class"])
REPOSITORY = Repository(ACCOUNT, snapshots=EVERY_3)
_ANY: Decider[Any, Any, Any] = ACCOUNT


async def deposit(bank: Bank, times: int, repository: Repository[Any] = REPOSITORY) -> None:
    for _ in range(times):
        await repository.handle(bank.transactions, 1, Deposit(1))


async def load(bank: Bank, repository: Repository[Any] = REPOSITORY) -> LoadedAggregate[Any]:
    async with bank.transactions.begin() as tx:
        return await repository.load(tx, 1)


async def kept(bank: Bank, stream: str = "account-1") -> Snapshot | None:
    return await bank.stores[SNAPSHOTS].load(stream, stream.partition("-")[0])


async def plant(bank: Bank, snapshot: Snapshot) -> None:
    async with bank.stores.database.begin() as db_tx:
        await bank.stores[SNAPSHOTS].discard(snapshot.stream, snapshot.kind, db_tx=db_tx)
        await bank.stores[SNAPSHOTS].save(db_tx, snapshot)


class TestWhenTheyAreKept:
    @BOTH
    async def test_every_so_many_events(self, bank: Bank, model: Any) -> None:
        repository: Repository[Any] = Repository(model, snapshots=EVERY_3)
        seen = []
        for _ in range(7):
            await deposit(bank, 1, repository)
            seen.append((await load(bank, repository)).snapshot_version)
        assert seen == [0, 0, 3, 3, 3, 6, 6]
        assert (await load(bank, repository)).state.amount == 7

    async def test_when_a_function_of_the_state_says_so(self, bank: Bank) -> None:
        policy = SnapshotPolicy(every=0, when=lambda balance: balance.amount == 0)
        repository = Repository(ACCOUNT, snapshots=policy)
        await deposit(bank, 2, repository)
        assert await kept(bank) is None
        await repository.handle(bank.transactions, 1, Withdraw(2))
        assert (await load(bank, repository)).snapshot_version == 3

    async def test_once_in_a_transaction_of_many_commands(self, bank: Bank) -> None:
        """The last that was due, at the version that it has with the commit."""
        async with bank.transactions.begin() as tx:
            for _ in range(8):
                await REPOSITORY.execute(tx, 1, Deposit(1))
        loaded = await load(bank)
        assert (loaded.version, loaded.snapshot_version, loaded.state.amount) == (8, 6, 8)

    async def test_with_the_commit_and_never_without_it(self, bank: Bank) -> None:
        with pytest.raises(Overdrawn):
            async with bank.transactions.begin() as tx:
                for _ in range(3):
                    await REPOSITORY.execute(tx, 1, Deposit(1))
                await tx.write()
                await REPOSITORY.execute(tx, 1, Withdraw(9))
        assert await kept(bank) is None

    async def test_not_where_none_are_wanted(self, bank: Bank) -> None:
        await deposit(bank, 5, Repository(ACCOUNT))
        assert await kept(bank) is None


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        "changed",
        [
            replace(ACCOUNT, schema_version=2),
            replace(_ANY, state=Balance | None),
            replace(_ANY, evolve=lambda state, _: replace(state, amount=state.amount + 2), schema_version=2),
        ],
        ids=["version", "shape", "meaning"],
    )
    async def test_a_state_that_has_changed_is_folded_from_the_start(
        self, bank: Bank, changed: Decider[Any, Any, Any]
    ) -> None:
        """And the next snapshot, though it may be no newer, takes the place of the old one."""
        await deposit(bank, 5)
        assert (await load(bank)).snapshot_version == 3
        repository: Repository[Any] = Repository(changed, snapshots=EVERY_3)
        loaded = await load(bank, repository)
        assert loaded == await load(bank, Repository(changed))
        await deposit(bank, 1, repository)
        assert (await load(bank, repository)).snapshot_version == 6
        assert (await load(bank)).snapshot_version == 0

    @pytest.mark.parametrize("data", [b"", b"[]", b'{"event":"x","state":{}}'])
    async def test_what_cannot_be_read(self, bank: Bank, data: bytes) -> None:
        await deposit(bank, 3)
        snapshot = await kept(bank)
        assert snapshot is not None
        await plant(bank, replace(snapshot, data=data))
        assert await load(bank) == LoadedAggregate(Balance("", 3, 3), 3, 0)
        await deposit(bank, 1)
        assert (await load(bank)).snapshot_version == 4

    async def test_one_that_is_newer_than_the_stream(self, bank: Bank) -> None:
        """A stream that was restored without it: thrown away with the next append, which is below it."""
        await deposit(bank, 4)
        newer = StateCodec(ACCOUNT).snapshot("account-1", 9, uuid4(), Balance("", 9, 9))
        assert newer is not None
        await plant(bank, newer)
        assert await load(bank) == LoadedAggregate(Balance("", 4, 4), 4, 0)
        await deposit(bank, 1)
        assert (await load(bank)).snapshot_version == 5

    async def test_one_of_a_stream_that_has_another_history(self, bank: Bank) -> None:
        """A stream that was restored and went on differently: it has that version, and another event there."""
        await deposit(bank, 3)
        other = StateCodec(ACCOUNT).snapshot("account-1", 3, uuid4(), Balance("", 1000, 3))
        assert other is not None
        await plant(bank, other)
        assert await load(bank) == LoadedAggregate(Balance("", 3, 3), 3, 0)

    async def test_one_that_does_not_fit_goes_even_if_none_is_due(self, bank: Bank) -> None:
        patient = Repository(ACCOUNT, snapshots=SnapshotPolicy(every=100))
        await deposit(bank, 2)
        newer = StateCodec(ACCOUNT).snapshot("account-1", 9, uuid4(), Balance("", 9, 9))
        assert newer is not None
        await plant(bank, newer)
        await load(bank, patient)
        assert await kept(bank) == newer
        await deposit(bank, 1, patient)
        assert await kept(bank) is None

    async def test_two_states_of_one_stream_need_two_kinds(self, bank: Bank) -> None:
        audit = Repository(
            replace(_ANY, evolve=lambda count, _: count + 1, initial=0, state=int, kind="audit"), snapshots=EVERY_3
        )
        await deposit(bank, 3)
        async with bank.transactions.begin() as tx:
            assert (await audit.load(tx, 1)).state == 3
        await deposit(bank, 3)
        assert (await load(bank)).snapshot_version == 6


async def test_a_snapshot_saves_reading_what_is_before_it(bank: Bank) -> None:
    """One event is read: that which it was taken behind."""
    repository = Repository(ACCOUNT, snapshots=SnapshotPolicy(every=5))
    await repository.handle(bank.transactions, 1, Open("Ada"))
    await deposit(bank, 9, repository)
    reads = Counting(bank)
    context = ServiceContext("bank", bank.stores.replacing(EVENTS, cast("EventStore", reads)))  # it passes on the rest
    async with Transactions(context).begin() as tx:
        loaded = await repository.load(tx, 1)
    assert (loaded.version, loaded.snapshot_version, loaded.state.amount) == (10, 10, 9)
    assert reads.events == 1


async def test_pages_after_a_snapshot(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.aggregate.loader.PAGE", 2)
    await deposit(bank, 3)
    await deposit(bank, 6, Repository(ACCOUNT))
    assert await load(bank) == LoadedAggregate(Balance("", 9, 9), 9, 3)
    assert await bank.stored("account-1") == [Deposited(1)] * 9


class Counting:
    """An event store that counts the events it gives."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.events = 0

    async def read_stream(self, stream: str, **options: Any) -> Any:
        events = await self._bank.stores[EVENTS].read_stream(stream, **options)
        self.events += len(events)
        return events

    async def read_bodies(self, stream: str, **options: Any) -> Any:
        bodies = await self._bank.stores[EVENTS].read_bodies(stream, **options)
        self.events += len(bodies)
        return bodies
