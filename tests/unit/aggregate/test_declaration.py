from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.aggregate.shapes import (
    ACCOUNT,
    Account,
    Balance,
    Deposit,
    Deposited,
    Open,
    Opened,
    Overdrawn,
    Renamed,
    Withdraw,
    Withdrawn,
    decide,
    evolve,
)

from freehold.aggregate import Aggregate, Decider, Repository, SnapshotPolicy, applies, decides
from freehold.errors import DeclarationError
from freehold.messages import command, event


@event("shop.sold")
class Sold:
    pass


@command("bank.open")
class OpenCommand:
    pass


def refused(match: str) -> Any:
    return pytest.raises(DeclarationError, match=match)


def make(**overrides: Any) -> Decider[Any, Any, Any]:
    given: dict[str, Any] = {"category": "account", "initial": Balance(), "decide": decide, "evolve": evolve}
    return Decider(**given | overrides)


class TestADeciderIsCheckedWhereItIsDeclared:
    def test_its_events_and_its_state_are_read_from_evolve(self) -> None:
        assert ACCOUNT.event_types == frozenset({Opened, Deposited, Withdrawn})
        assert ACCOUNT.state_type is Balance
        assert ACCOUNT.kind == "account"

    def test_an_evolve_that_says_nothing_takes_everything(self) -> None:
        def anything(state: object, happened: object) -> object:
            return state

        assert make(evolve=anything).event_types is None
        assert make(evolve=lambda state, _: state).event_types is None
        assert make(evolve=lambda state, _: state).state_type is Balance

    def test_what_is_given_wins(self) -> None:
        decider = make(events=[Opened, Renamed], state=dict[str, int], kind="other")
        assert decider.event_types == frozenset({Opened, Renamed})
        assert decider.state_type == dict[str, int]
        assert decider.kind == "other"

    @pytest.mark.parametrize("category", ["order-line", "", "Order", "1st", "or der"])
    def test_a_category_that_no_stream_can_begin_with(self, category: str) -> None:
        with refused("categor"):
            make(category=category)

    def test_the_hint_says_what_to_write_instead_of_a_hyphen(self) -> None:
        with refused("write 'order_line'"):
            make(category="order-line")

    @pytest.mark.parametrize(
        ("events", "match"),
        [
            ([], "no events"),
            ([Opened, Opened], "named twice"),
            ([Opened, Sold], "several services: bank, shop"),
            ([OpenCommand], "'bank.open' is a command"),
            ([Opened, Balance], "Balance is not a message"),
        ],
    )
    def test_events_that_are_none_or_not_of_one_service(self, events: Sequence[Any], match: str) -> None:
        with refused(match):
            make(events=events)

    def test_a_union_with_what_is_no_event(self) -> None:
        def wrong(state: Balance, happened: Opened | Balance) -> Balance:
            return state

        with refused("Balance is not a message"):
            make(evolve=wrong)

    async def test_functions_that_could_wait(self) -> None:
        async def waiting(state: Balance, given: object) -> Balance:
            return state

        with refused("decide must not be async"):
            make(decide=waiting)
        with refused("evolve must not be async"):
            make(evolve=waiting)

    def test_a_version_that_is_none(self) -> None:
        with refused("schema_version must be 1 or more"):
            make(schema_version=0)


class TestADeciderDecides:
    def test_state_after_what_was_decided(self) -> None:
        events, state = ACCOUNT.act(Balance(), Open("Ada", 5))
        assert events == [Opened("Ada"), Deposited(5)]
        assert state == Balance("Ada", 5, 1)

    def test_what_forbids_a_command_comes_through(self) -> None:
        with pytest.raises(Overdrawn):
            ACCOUNT.act(Balance("Ada", 5), Withdraw(6))

    @pytest.mark.parametrize("returned", [None, Deposited(1)])
    def test_what_is_no_list_of_events(self, returned: object) -> None:
        with refused("decide returned a"):
            make(decide=lambda *_: returned).act(Balance(), Deposit(1))

    def test_an_event_that_evolve_does_not_take(self) -> None:
        with refused("does not say what 'bank.renamed' version 1 does"):
            make(decide=lambda *_: [Renamed("Bob")]).act(Balance(), Deposit(1))


class TestAClassIsCheckedWhereItIsDeclared:
    def test_a_category_with_a_hyphen(self) -> None:
        with refused("write 'bank_account'"):

            class Wrong(Account, category="bank-account"):
                pass

    def test_a_field_without_a_default(self) -> None:
        with refused("the field 'limit' has no default"):

            class Wrong(Account, category="account"):
                limit: int

    def test_a_default_that_all_would_share(self) -> None:
        with refused("use default_factory"):

            class Wrong(Account, category="account"):
                lines: list[str] = []  # noqa: RUF012 # that is the mistake

    def test_an_event_that_two_methods_apply(self) -> None:
        with refused("'deposited' and 'again' both take Deposited"):

            class Wrong(Account, category="account"):
                @applies(Deposited)
                def again(self, happened: Deposited) -> None:
                    """Nothing."""

    def test_a_command_that_two_methods_take(self) -> None:
        with refused("'open' and 'reopen' both take Open"):

            class Wrong(Account, category="account"):
                @decides(Open)
                def reopen(self, given: Open) -> None:
                    """Nothing."""

    def test_methods_that_could_wait(self) -> None:
        with refused("look must not be async"):

            class Wrong(Account, category="account"):
                @decides(str)
                async def look(self, given: str) -> None:
                    """Nothing."""

    def test_a_class_that_applies_nothing(self) -> None:
        with refused("applies no event"):

            class Wrong(Aggregate, category="account"):
                pass

    def test_what_is_no_event(self) -> None:
        with refused("is a command"):
            applies(OpenCommand)
        with refused("name at least one class"):
            applies()

    def test_events_of_several_services(self) -> None:
        with refused("several services"):

            class Wrong(Account, category="account"):
                @applies(Sold)
                def sold(self, happened: Sold) -> None:
                    """Nothing."""

    @pytest.mark.parametrize("name", ["id", "record", "recorded"])
    def test_names_of_the_base(self, name: str) -> None:
        with refused(f"'{name}' is used by Aggregate"):
            type("Taken", (Account,), {name: "", "__annotations__": {name: "str"}}, category="account")

    def test_a_base_of_others_needs_no_category(self) -> None:
        class Base(Aggregate):
            owner: str = ""

            @applies(Opened)
            def opened(self, happened: Opened) -> None:
                self.owner = happened.owner

        class Loud(Base, category="account"):
            @applies(Opened)
            def opened(self, happened: Opened) -> None:
                self.owner = happened.owner.upper()

        loud = Loud()
        loud.record(Opened("Ada"))
        assert loud.owner == "ADA"
        with refused("Base has no category"):
            Repository(Base)


class TestAnObjectRecords:
    def test_an_event_changes_it_at_once_and_is_kept(self) -> None:
        account = Account()
        account.deposit(Deposit(5))
        account.withdraw(Withdraw(2))
        assert account == Account(amount=3, moves=2)
        assert account.recorded == (Deposited(5), Withdrawn(2))
        assert account.id == ""

    def test_an_event_that_no_method_applies(self) -> None:
        with refused("does not say what 'bank.renamed'"):
            Account().record(Renamed("Bob"))


class TestARepositoryIsCheckedWhereItIsDeclared:
    def test_published_types_are_its_own(self) -> None:
        with refused("publishes 'bank.renamed' version 1, which is none of its events"):
            Repository(ACCOUNT, publish=(Opened, Renamed))
        with refused("named twice"):
            Repository(ACCOUNT, publish=[Opened, Opened])

    def test_a_state_that_no_snapshot_can_keep(self) -> None:
        class Opaque:
            pass

        decider = make(initial=Opaque(), state=complex)
        Repository(decider)
        with refused("the state of 'account' cannot be stored in snapshots"):
            Repository(decider, snapshots=SnapshotPolicy())

    def test_an_aggregate_needs_an_id(self) -> None:
        assert Repository(ACCOUNT).stream(7) == "account-7"
        assert Repository(Account).stream("a-b") == "object-a-b"
        with refused("needs an id"):
            Repository(ACCOUNT).stream("")

    def test_a_policy_that_is_never_due(self) -> None:
        with refused("never due"):
            SnapshotPolicy(every=0)
        with refused("must not be negative"):
            SnapshotPolicy(every=-1)


def test_a_policy_counts_from_the_snapshot_that_is_there() -> None:
    policy = SnapshotPolicy(every=10, when=lambda state: bool(state == "closed"))
    assert [policy.due("open", version, 0) for version in (9, 10, 11)] == [False, True, True]
    assert [policy.due("open", version, 11) for version in (20, 21)] == [False, True]
    assert policy.due("closed", 12, 11)


def test_a_first_state_that_can_be_changed_is_nobody_elses() -> None:
    """An evolve that is not as pure as it should be does not tell one aggregate what another one did."""

    def evolve(state: dict[str, int], event: Deposited) -> dict[str, int]:
        state["amount"] = state.get("amount", 0) + event.amount
        return state

    careless: Decider[dict[str, int], object, Deposited] = Decider(
        category="careless", initial={}, decide=lambda _state, _command: [], evolve=evolve, events=[Deposited]
    )
    assert careless.evolve(careless.begin("1"), Deposited(5)) == {"amount": 5}
    assert careless.begin("2") == {} == careless.initial
    assert ACCOUNT.begin("1") is ACCOUNT.initial
