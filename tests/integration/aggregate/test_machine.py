"""An aggregate against the pure fold of its events: random commands, snapshots, reloads, versions, damage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.integration.aggregate.bank import Bank, open_bank
from tests.unit.aggregate.shapes import (
    ACCOUNT,
    Account,
    Balance,
    Command,
    Deposit,
    Deposited,
    Happened,
    Open,
    Opened,
    Overdrawn,
    Withdraw,
    Withdrawn,
    decide,
    evolve,
)

from freehold.aggregate import Repository, SnapshotPolicy, applies
from freehold.aggregate.base import model_of
from freehold.aggregate.snapshots import StateCodec
from freehold.aggregate.store import SNAPSHOTS
from freehold.transaction import Transaction

T = TypeVar("T")
_IDS = st.sampled_from(["a", "b"])
_COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(Open, st.sampled_from(["Ada", "Bob"]), st.integers(0, 3)),
    st.builds(Deposit, st.integers(1, 5)),
    st.builds(Withdraw, st.integers(1, 9)),
)
_POLICIES = st.one_of(
    st.none(),
    st.builds(SnapshotPolicy, every=st.integers(1, 6)),
    st.just(SnapshotPolicy(every=0, when=lambda state: state.amount % 3 == 0)),
)


def doubled(balance: Balance, happened: Happened) -> Balance:
    """Another meaning of the same events."""
    after = evolve(balance, happened)
    return replace(after, moves=balance.moves + 2)


class Doubled(Account, category="object", schema_version=2):
    @applies(Opened)
    def opened(self, happened: Opened) -> None:
        self.owner = happened.owner
        self.moves += 2

    @applies(Deposited)
    def deposited(self, happened: Deposited) -> None:
        self.amount += happened.amount
        self.moves += 2

    @applies(Withdrawn)
    def withdrawn(self, happened: Withdrawn) -> None:
        self.amount -= happened.amount
        self.moves += 2


_MODELS: dict[str, Any] = {
    "decider": ACCOUNT,
    "decider, doubled": replace(ACCOUNT, evolve=doubled, schema_version=2),
    "class": Account,
    "class, doubled": Doubled,
}
_STYLES = st.sampled_from(sorted(_MODELS))
_FOLDS: dict[str, Any] = {"decider": evolve, "decider, doubled": doubled, "class": evolve, "class, doubled": doubled}


class AggregateMachine(RuleBasedStateMachine):
    """What is loaded is always the fold of what was decided and committed, for whoever loads it, by whichever way."""

    url = "memory://"

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._histories: dict[str, list[Happened]] = {}

    def _run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, 90))

    @initialize(policy=_POLICIES)
    def open(self, policy: SnapshotPolicy | None) -> None:
        self._bank: Bank = self._run(self._stack.enter_async_context(open_bank(self.url)))
        self._policy = policy

    @rule(policy=_POLICIES)
    def another_policy(self, policy: SnapshotPolicy | None) -> None:
        self._policy = policy

    @rule(
        style=_STYLES,
        commands=st.lists(st.tuples(_IDS, _COMMANDS), min_size=1, max_size=6),
        flush_after=st.sets(st.integers(0, 5), max_size=2),
        commits=st.booleans(),
    )
    def transaction(
        self, style: str, commands: list[tuple[str, Command]], flush_after: set[int], *, commits: bool
    ) -> None:
        """Several commands on both aggregates in one transaction, which may be rolled back."""
        before = {stream: tuple(events) for stream, events in self._histories.items()}
        try:
            self._run(self._execute(style, commands, flush_after, commits=commits))
        except _RolledBack:
            self._histories = {stream: list(events) for stream, events in before.items()}

    async def _execute(
        self, style: str, commands: list[tuple[str, Command]], flush_after: set[int], *, commits: bool
    ) -> None:
        repository: Repository[Any] = Repository(_MODELS[style], snapshots=self._policy)
        async with self._bank.transactions.begin() as tx:
            for number, (name, command) in enumerate(commands):
                await self._one(tx, repository, style, (name, command))
                if number in flush_after:
                    await tx.write()
            if not commits:
                raise _RolledBack

    async def _one(self, tx: Transaction, repository: Repository[Any], style: str, given: tuple[str, Command]) -> None:
        history = self._histories.setdefault(repository.stream(given[0]), [])
        try:
            decided = decide(_fold(style, history), given[1])
        except Overdrawn:
            with pytest.raises(Overdrawn):
                await repository.execute(tx, *given)
            return
        executed = await repository.execute(tx, *given)
        history.extend(decided)
        assert list(executed.events) == decided
        assert executed.version == len(history)
        assert _balance(executed.state) == _fold(style, history)

    @rule(
        style=st.sampled_from(["decider", "class"]),
        name=_IDS,
        version=st.integers(1, 12),
        data=st.sampled_from([None, b"", b"{}"]),
    )
    def damage(self, style: str, name: str, version: int, data: bytes | None) -> None:
        """Plant a snapshot that lies: of another history, of a version that is not there, or of no sense."""
        self._run(self._plant(style, name, version, data))

    async def _plant(self, style: str, name: str, version: int, data: bytes | None) -> None:
        stream = Repository(_MODELS[style]).stream(name)
        kind = stream.partition("-")[0]
        lie = (
            StateCodec(ACCOUNT).snapshot(stream, version, uuid4(), Balance("liar", 999, version))
            if style == "decider"
            else StateCodec(model_of(Account)).snapshot(stream, version, uuid4(), Account(owner="liar", amount=999))
        )
        assert lie is not None
        async with self._bank.stores.database.begin() as db_tx:
            await self._bank.stores[SNAPSHOTS].discard(stream, kind, db_tx=db_tx)
            await self._bank.stores[SNAPSHOTS].save(db_tx, lie if data is None else replace(lie, data=data))

    @invariant()
    def every_load_is_the_fold(self) -> None:
        if hasattr(self, "_bank"):
            self._run(self._compare())

    async def _compare(self) -> None:
        async with self._bank.transactions.begin() as tx:
            for style, model in _MODELS.items():
                repository: Repository[Any] = Repository(model, snapshots=SnapshotPolicy(every=4))
                for name in ("a", "b"):
                    loaded = await repository.load(tx, name, must_exist=False)
                    history = self._histories.get(repository.stream(name), [])
                    assert loaded.version == len(history)
                    assert _balance(loaded.state) == _fold(style, history)

    def teardown(self) -> None:
        self._run(self._stack.aclose())
        self._loop.close()


class _RolledBack(Exception):
    """Ends a transaction."""


def _fold(style: str, history: list[Happened]) -> Balance:
    balance = Balance()
    for happened in history:
        balance = _FOLDS[style](balance, happened)
    return balance


def _balance(state: Any) -> Balance:
    return Balance(state.owner, state.amount, state.moves)


@pytest.mark.parametrize(("engine", "examples"), [("memory", 60), ("sqlite", 8)])
def test_what_is_loaded_is_the_fold_of_the_events(engine: str, examples: int, tmp_path: Path) -> None:
    class Machine(AggregateMachine):
        @property
        def url(self) -> str:  # type: ignore[override] # a fresh one each time
            return "memory://" if engine == "memory" else f"sqlite:///{tmp_path}/{uuid4().hex}.db"

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
