"""Loading and executing, in both styles, on every engine."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.integration.aggregate.bank import Bank
from tests.unit.aggregate.shapes import (
    ACCOUNT,
    Account,
    Balance,
    Deposit,
    Deposited,
    Open,
    Opened,
    Overdrawn,
    Withdraw,
    Withdrawn,
)

from freehold.aggregate import CommandResult, Repository, VersionMismatch
from freehold.context import ServiceContext
from freehold.errors import ConcurrencyConflict, DeclarationError, NotFound
from freehold.eventstore.store import EVENTS
from freehold.messages import event
from freehold.policy import Retry, RetryDecision
from freehold.transaction import Transactions


@event("bank.account-announced", key="account_id")
class Announced:
    account_id: str
    amount: int


@event("bank.audited")
class Audited:
    version: int


BOTH = pytest.mark.parametrize(
    ("repository", "balance"),
    [(Repository(ACCOUNT), Balance), (Repository(Account), Account)],
    ids=["decider", "class"],
)


@BOTH
class TestBothStyles:
    async def test_a_command_is_decided_and_its_events_are_kept(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        opened = await repository.handle(bank.transactions, 1, Open("Ada", 10))
        assert opened == CommandResult(
            "1", balance(owner="Ada", amount=10, moves=1), 2, (Opened("Ada"), Deposited(10)), opened.token
        )
        await repository.handle(bank.transactions, 1, Withdraw(3))
        assert await bank.stored(repository.stream(1)) == [Opened("Ada"), Deposited(10), Withdrawn(3)]
        async with bank.transactions.begin() as tx:
            loaded = await repository.load(tx, 1)
        assert (loaded.state, loaded.version) == (balance(owner="Ada", amount=7, moves=2), 3)

    async def test_what_forbids_a_command_leaves_nothing(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        with pytest.raises(Overdrawn):
            await repository.handle(bank.transactions, 1, Withdraw(3))
        assert await bank.stored(repository.stream(1)) == []

    async def test_a_refused_command_leaves_the_others_of_the_transaction(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        async with bank.transactions.begin() as tx:
            await repository.execute(tx, 1, Deposit(1))
            with pytest.raises(Overdrawn):
                await repository.execute(tx, 1, Withdraw(3))
            assert (await repository.load(tx, 1)).state.amount == 1
        assert await bank.stored(repository.stream(1)) == [Deposited(1)]

    async def test_an_unknown_one_is_not_found_or_at_its_beginning(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        async with bank.transactions.begin() as tx:
            with pytest.raises(NotFound, match="with this id"):
                await repository.load(tx, 1)
            with pytest.raises(NotFound):
                await repository.execute(tx, 1, Deposit(1), must_exist=True)
            loaded = await repository.load(tx, 1, must_exist=False)
        assert (loaded.state, loaded.version) == (balance(), 0)
        with pytest.raises(NotFound):
            await repository.handle(bank.transactions, 1, Deposit(1), must_exist=True)

    async def test_commands_of_one_transaction_compose(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        """Each sees what the ones before it decided, also across a flush; all are appended, or none."""
        async with bank.transactions.begin() as tx:
            await repository.execute(tx, 1, Open("Ada", 10))
            executed = await repository.execute(tx, 1, Withdraw(4))
            assert (executed.state.amount, executed.version) == (6, 3)
            await tx.write()
            assert (await repository.load(tx, 1)).version == 3
            await repository.execute(tx, 1, Withdraw(6))
            with pytest.raises(Overdrawn):
                await repository.execute(tx, 1, Withdraw(1))
            await repository.execute(tx, 2, Deposit(1))
        assert await bank.stored(repository.stream(1)) == [Opened("Ada"), Deposited(10), Withdrawn(4), Withdrawn(6)]
        assert await bank.stored(repository.stream(2)) == [Deposited(1)]

    async def test_several_streams_are_appended_together_or_not_at_all(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        with pytest.raises(Overdrawn):
            async with bank.transactions.begin() as tx:
                await repository.execute(tx, 1, Deposit(1))
                await repository.execute(tx, 2, Withdraw(1))
        assert await bank.stored(repository.stream(1)) == []

    async def test_a_command_without_events_appends_nothing(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        await repository.handle(bank.transactions, 1, Open("Ada"))
        again = await repository.handle(bank.transactions, 1, Open("Bob"))
        assert (again.events, again.version, again.state.owner) == ((), 1, "Ada")

    async def test_a_client_names_the_version_it_has_seen(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        """A version that has passed is told at once, and is not tried again."""
        await repository.handle(bank.transactions, 1, Deposit(1), expected_version=0)
        await repository.handle(bank.transactions, 1, Deposit(1), expected_version=1)
        with pytest.raises(VersionMismatch, match="at version 2, not 1"):
            await repository.handle(bank.transactions, 1, Deposit(1), expected_version=1, retry=_NeverAsked())
        async with bank.transactions.begin() as tx:
            await repository.execute(tx, 1, Deposit(1), expected_version=2)
            await repository.execute(tx, 1, Deposit(1), expected_version=3)
        assert len(await bank.stored(repository.stream(1))) == 4

    async def test_what_else_the_transaction_appended_is_seen(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        async with bank.transactions.begin() as tx:
            tx.append(repository.stream(1), Deposited(5))
            executed = await repository.execute(tx, 1, Withdraw(5))
            assert executed.version == 2
        assert await bank.stored(repository.stream(1)) == [Deposited(5), Withdrawn(5)]

    async def test_a_long_stream_is_loaded_page_by_page(
        self, bank: Bank, repository: Repository[Any], balance: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("freehold.aggregate.loader.PAGE", 3)
        for count in (2, 1, 3, 1):
            async with bank.transactions.begin() as tx:
                for _ in range(count):
                    await repository.execute(tx, 1, Deposit(1))
            async with bank.transactions.begin() as tx:
                loaded = await repository.load(tx, 1)
            assert loaded.version == loaded.state.amount == len(await bank.stored(repository.stream(1)))

    async def test_events_name_their_cause_and_the_key_of_personal_data(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        correlation_id = uuid4()
        await repository.handle(bank.transactions, 1, Deposit(1), correlation_id=correlation_id, subject_key="person-7")
        (recorded,) = await bank.stores[EVENTS].read_stream(repository.stream(1))
        assert (recorded.event.correlation_id, recorded.event.subject_key) == (correlation_id, "person-7")

    async def test_the_token_tells_a_read_what_to_wait_for(
        self, bank: Bank, repository: Repository[Any], balance: Any
    ) -> None:
        executed = await repository.handle(bank.transactions, 1, Deposit(1))
        (recorded,) = await bank.stores[EVENTS].read_stream(repository.stream(1))
        assert executed.token.positions["bank"] == recorded.position


class TestPublishing:
    async def test_nothing_goes_out_unless_it_is_said(self, bank: Bank) -> None:
        await Repository(ACCOUNT).handle(bank.transactions, 1, Open("Ada", 5))
        assert bank.published == []

    async def test_all_events_in_order_under_the_id(self, bank: Bank) -> None:
        await Repository(ACCOUNT, publish=True).handle(bank.transactions, 1, Open("Ada", 5))
        assert bank.published == [("1", Opened("Ada")), ("1", Deposited(5))]

    @pytest.mark.parametrize("publish", [Deposited, (Deposited,), {Deposited}])
    async def test_some_types(self, bank: Bank, publish: Any) -> None:
        await Repository(ACCOUNT, publish=publish).handle(bank.transactions, 1, Open("Ada", 5))
        assert bank.published == [("1", Deposited(5))]

    async def test_what_a_function_makes_of_them(self, bank: Bank) -> None:
        def translate(happened: object, executed: CommandResult[Balance]) -> object:
            match happened:
                case Opened():
                    return [Announced(executed.id, executed.state.amount), Audited(executed.version)]
                case Deposited(5):
                    return Audited(5)
                case _:
                    return None

        await Repository(ACCOUNT, publish=translate).handle(bank.transactions, "a", Open("Ada", 5))
        assert bank.published == [("a", Announced("a", 5)), ("a", Audited(2)), ("a", Audited(5))]
        bank.outbox.documents.clear()
        await Repository(ACCOUNT, publish=translate).handle(bank.transactions, "a", Withdraw(1))
        assert bank.published == []

    async def test_nothing_is_published_of_what_is_not_appended(self, bank: Bank) -> None:
        repository = Repository(ACCOUNT, publish=True)
        async with bank.transactions.begin() as tx:
            with pytest.raises(Overdrawn):
                await repository.execute(tx, 1, Withdraw(1))
        assert bank.published == []

    async def test_the_partition_key_of_the_type_wins(self, bank: Bank) -> None:
        repository = Repository(ACCOUNT, publish=lambda *_: Announced("other", 1))
        await repository.handle(bank.transactions, 1, Deposit(1))
        assert bank.published == [("other", Announced("other", 1))]


class TestTheClassStyle:
    async def test_a_function_may_be_the_command(self, bank: Bank) -> None:
        repository = Repository(Account)
        executed = await repository.handle(bank.transactions, 1, lambda account: account.deposit(Deposit(4)))
        assert executed.events == (Deposited(4),)
        assert executed.state.id == "1"
        assert executed.state.recorded == ()

    async def test_a_command_that_no_method_takes(self, bank: Bank) -> None:
        with pytest.raises(DeclarationError, match="Account takes no str"):
            await Repository(Account).handle(bank.transactions, 1, "deposit")

    async def test_an_object_that_was_changed_by_hand_changes_nothing(self, bank: Bank) -> None:
        repository = Repository(Account)
        async with bank.transactions.begin() as tx:
            await repository.execute(tx, 1, Deposit(1))
            (await repository.load(tx, 1)).state.amount = 100
            assert (await repository.load(tx, 1)).state.amount == 1


class TestConflicts:
    async def test_an_append_since_the_load_is_a_conflict(self, bank: Bank) -> None:
        """The writer that came second is told when its transaction ends."""
        if not bank.stores.database.features.concurrent_writers:
            pytest.skip("feature concurrent_writers: writers of this engine take turns")
        repository = Repository(ACCOUNT)
        with pytest.raises(ConcurrencyConflict):
            async with bank.transactions.begin() as tx:
                await repository.execute(tx, 1, Deposit(1))
                await repository.handle(bank.transactions, 1, Deposit(2))
        assert await bank.stored("account-1") == [Deposited(2)]

    async def test_a_retry_decides_again_on_what_is_there_now(self, bank: Bank) -> None:
        if not bank.stores.database.features.concurrent_writers:
            pytest.skip("feature concurrent_writers: writers of this engine take turns")
        repository = Repository(ACCOUNT, publish=True)
        await repository.handle(bank.transactions, 1, Deposit(5))
        meddling = Meddling(bank, repository, times=2)
        transactions = Transactions(ServiceContext("bank", bank.stores.replacing(EVENTS, meddling)))
        executed = await repository.handle(transactions, 1, Withdraw(5))
        assert meddling.loads == 3
        assert (executed.version, executed.state.amount) == (4, 2)
        assert await bank.stored("account-1") == [Deposited(5), Deposited(1), Deposited(1), Withdrawn(5)]

    async def test_a_client_that_loses_a_race_is_told_so(self, bank: Bank) -> None:
        if not bank.stores.database.features.concurrent_writers:
            pytest.skip("feature concurrent_writers: writers of this engine take turns")
        repository = Repository(ACCOUNT)
        meddling = Meddling(bank, repository, times=1)
        transactions = Transactions(ServiceContext("bank", bank.stores.replacing(EVENTS, meddling)))
        with pytest.raises(VersionMismatch):
            await repository.handle(transactions, 1, Deposit(5), expected_version=0)
        assert await bank.stored("account-1") == [Deposited(1)]


class _NeverAsked(Retry):
    def decide(self, attempt: int, error: BaseException | None = None) -> RetryDecision:
        raise AssertionError("another try was thought of")


class Meddling:
    """An event store in which somebody else deposits right after the first loads."""

    def __init__(self, bank: Bank, repository: Repository[Any], *, times: int) -> None:
        self._times = times
        self._bank = bank
        self._repository = repository
        self.loads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bank.stores[EVENTS], name)

    async def read_bodies(self, stream: str, **options: Any) -> Any:
        bodies = await self._bank.stores[EVENTS].read_bodies(stream, **options)
        self.loads += 1
        if self.loads <= self._times:
            await self._repository.handle(self._bank.transactions, 1, Deposit(1))
        return bodies
