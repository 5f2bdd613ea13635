"""Accounts: event-sourced aggregates behind idempotent requests, and reads of another service that wait for tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.simulated.clients import PATIENT, RARE_POLLS, no_dead_letters, persistent_within

from freehold import Decider, Repository, RunningService, Service, SnapshotPolicy, Transaction, event
from freehold.consistency import ConsistencyToken, Fresh
from freehold.eventstore.store import EVENTS
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.testing import Scenario, World

__all__ = ["Accounts"]

_ACCOUNTS: Final = ("x", "y")
_DEPOSITS: Final = 10
_WAIT_SECONDS: Final = 3.0
_SCOPE: Final = "deposits"


@event("savings.deposited", key="account")
class Deposited:
    """Money came in. `number` is that of the deposit in its account."""

    account: str
    number: int
    cents: int


@dataclass(frozen=True)
class Deposit:
    """A request."""

    account: str
    cents: int


@dataclass(frozen=True)
class Account:
    """The state of an account."""

    number: int = 0
    cents: int = 0


def _decide(account: Account, asked: Deposit) -> list[Deposited]:
    return [Deposited(asked.account, account.number + 1, asked.cents)]


def _evolve(account: Account, happened: Deposited) -> Account:
    return Account(happened.number, account.cents + happened.cents)


_REPOSITORY: Final = Repository(
    Decider("account", initial=Account(), decide=_decide, evolve=_evolve),
    snapshots=SnapshotPolicy(every=3),
    publish=True,
)


class Accounts(Scenario):
    """Each request has its effect once, a fresh read shows it, and the stream, the snapshot and the copy agree."""

    seconds = 30.0
    settings: Mapping[str, Any] = RARE_POLLS

    def __init__(self) -> None:
        self.answers: dict[str, StoredResponse] = {}

    def services(self) -> Sequence[Service]:
        savings, copies = Service("savings"), Service("copies", retry=PATIENT)

        @copies.handles(Deposited)
        async def deposited(message: Deposited, tx: Transaction) -> None:
            tx.connection[message.account] = [*tx.connection.get(message.account, []), message.number]

        return [savings, copies]

    async def work(self, world: World) -> None:
        for number in range(_DEPOSITS):
            for account in _ACCOUNTS:
                key = f"{account}-{number}"
                answer = await persistent_within(world, "savings", _request(key, Deposit(account, 1)))
                known = self.answers.setdefault(key, answer)
                assert known == answer, f"{key} was answered with {answer} after {known}"
            if world.draw.random() < 0.5:
                await self._read(world, _ACCOUNTS[0], number)
            await world.sleep(world.draw.uniform(0.0, 4.0))

    async def _read(self, world: World, account: str, number: int) -> None:
        answer = self.answers[f"{account}-{number}"]
        token = ConsistencyToken.parse(answer.token)

        async def read(running: RunningService) -> tuple[bool, list[int]]:
            fresh = isinstance(await running.freshness.wait(token, limit_seconds=_WAIT_SECONDS), Fresh)
            async with running.transaction() as tx:
                return fresh, tx.connection.get(account, [])

        fresh, found = await persistent_within(world, "copies", read)
        world.sometimes("a read is not fresh in time", not fresh)
        assert not fresh or int(answer.body) in found, (
            f"a fresh read of {account} shows {found}, without {answer.body!r}"
        )

    async def check(self, world: World) -> None:
        await no_dead_letters(world, "copies")
        for account in _ACCOUNTS:
            wanted = list(range(1, _DEPOSITS + 1))
            numbers = [int(self.answers[f"{account}-{number}"].body) for number in range(_DEPOSITS)]
            assert numbers == wanted, f"the requests to {account} were answered with {numbers}"
            async with world.running("copies").transaction() as tx:
                assert tx.connection.get(account) == wanted, f"the copy of {account} has {tx.connection.get(account)}"
            running = world.running("savings")
            version = await running.stores[EVENTS].version(f"account-{account}")
            assert version == _DEPOSITS, f"the stream of {account} has {version} events"
            async with running.transaction() as tx:
                loaded = await _REPOSITORY.load(tx, account)
            assert loaded.state == Account(_DEPOSITS, _DEPOSITS), f"{account} is {loaded.state}"
            world.sometimes("a snapshot was used", loaded.snapshot_version)


def _request(key: str, asked: Deposit) -> Any:
    async def request(running: RunningService) -> StoredResponse:
        answers = running.stores[IDEMPOTENCY]

        async def work(tx: Transaction) -> tuple[StoredResponse | None, Transaction, int]:
            stored = await answers.claim(tx.db_tx, _SCOPE, key, "")
            if stored is not None:
                return stored, tx, 0
            result = await _REPOSITORY.execute(tx, asked.account, asked)
            await tx.write()
            answer = StoredResponse("", 201, "text/plain", str(result.state.number).encode(), tx.token.text)
            await answers.complete(tx.db_tx, _SCOPE, key, answer)
            return answer, tx, result.version

        answer, _, _ = await running.transact(work)
        assert answer is not None
        return answer

    return request
