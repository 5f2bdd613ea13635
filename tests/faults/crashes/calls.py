"""Sagas of calls: one whose hook fails at first, one whose call fails at first, one that is declined and compensated,
in a process that is killed. What the calls do is counted in the process of the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from tests.faults.crashes.campaign import KeptScenario

from freehold.ids import derive_id
from freehold.inbox.reply import Rejected
from freehold.migrations import Migration
from freehold.policy import Retry
from freehold.runtime import RunningService
from freehold.saga import CallContext, Saga, call, local
from freehold.saga.store import SAGAS, SagaStatus
from freehold.service import Service
from freehold.settings import Settings
from freehold.sql import SQL
from freehold.testing import EffectAnswer, EffectClient, EffectLedger, settled
from freehold.transaction import Transaction

__all__ = ["Calls"]

_FAST: Final = Retry(attempts=400, delay_seconds=0.05, delay_seconds_max=0.1)
_TABLE: Final = Migration("001-done", {"": ["CREATE TABLE done (what text PRIMARY KEY)"]})
_NAMES: Final = ("plain", "shaky", "declined")
_QUIET_SECONDS: Final = 150.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The state of a saga."""

    name: str


class Calls(KeptScenario):
    """Each saga ends once, and what was done agrees with how."""

    life_seconds = 240.0

    @contextmanager
    def surroundings(self, place: Path) -> Iterator[None]:
        """Count what is done."""
        with EffectLedger() as self._ledger:
            self._ledger.answer("label", EffectAnswer.ERROR, times=1)
            self._ledger.answer("charge", EffectAnswer.ANSWER_LOST, times=1)
            yield

    async def life(self, place: Path) -> None:
        """Start the sagas that are not started, and wait until all have ended."""
        service = _service(EffectClient(self._ledger.address), place)
        async with RunningService(service, _settings(place)) as running:
            (saga,) = service.sagas.values()
            for name in _NAMES:
                async with running.transaction() as tx:
                    await running.sagas.start(tx, saga, Wanted(name), saga_id=derive_id("calls", name))
            await settled(running, timeout_seconds=_QUIET_SECONDS)

    async def check(self, place: Path) -> Sequence[str]:
        """A completed saga has all its effects, a compensated one has none."""
        running = RunningService(_service(EffectClient("127.0.0.1:9"), place), _settings(place), roles=())
        async with running:
            statuses = {status: number for (_, status), number in (await running.stores[SAGAS].count()).items()}
            async with running.stores[SQL].direct() as sql:
                done = sorted(row[0] for row in await sql.fetch("SELECT what FROM done"))
        charged = sorted(key.rpartition("/")[2] for key in self._ledger.effects("charge"))
        found = {
            "sagas": (statuses, {SagaStatus.COMPLETED: 2, SagaStatus.COMPENSATED: 1}),
            "charged": (len(charged), 2),
            "labelled": (len(self._ledger.effects("label")), 3),
            "done": (done, ["completed plain", "completed shaky", "write plain", "write shaky"]),
            "conflicts": ([*self._ledger.conflicts], []),
        }
        return [f"{what}: {is_} and not {should}" for what, (is_, should) in found.items() if is_ != should]


def _service(client: EffectClient, place: Path) -> Service:
    failed = place / "hook-failed"

    async def label(state: Wanted, context: CallContext) -> None:
        await client.perform("label", context.idempotency_key)

    async def charge(state: Wanted, context: CallContext) -> None:
        if state.name == "shaky" and context.attempt == 1:
            await _save_meanwhile(place)
        await client.perform("charge", context.idempotency_key)

    async def refund(state: Wanted, context: CallContext) -> None:
        await client.perform("refund", context.idempotency_key, compensates=context.action_key or "")

    async def write(state: Wanted, tx: Transaction) -> None:
        if state.name == "declined":
            raise Rejected("declined")
        await tx.connection.execute(text("INSERT INTO done VALUES (:what)"), {"what": f"write {state.name}"})

    async def completed(state: Wanted, tx: Transaction) -> None:
        await tx.connection.execute(text("INSERT INTO done VALUES (:what)"), {"what": f"completed {state.name}"})
        if state.name == "plain" and not failed.exists():
            failed.touch()
            raise ValueError("planned")

    class Calling(Saga[Wanted], name="orders.calling", key="name", hook_retry=_FAST):
        label_ = call(label, no_compensation=True, timeout_seconds=2.0, retry=_FAST)
        charge_ = call(charge, compensation=refund, after=label_, timeout_seconds=2.0, retry=_FAST)
        write_ = local(write, no_compensation=True, after=charge_)
        on_completed = completed

    service = Service("orders", migrations=[_TABLE])
    service.orchestrates(Calling)
    return service


async def _save_meanwhile(place: Path) -> None:
    """Save the instance of the shaky saga as another process would: its outcome is recorded alone then."""
    import aiosqlite

    async with aiosqlite.connect(place / "orders.db", timeout=30.0) as connection:
        await connection.execute(
            "UPDATE freehold_saga SET version = version + 1 WHERE key = 'shaky'",
        )
        await connection.commit()


def _settings(place: Path) -> Settings:
    return Settings.load(
        "orders",
        environ={},
        database=f"sqlite:///{place}/orders.db?synchronous=normal",
        broker=f"embedded:///{place}/broker.db?synchronous=normal",
        poll_seconds=0.2,
        database_options={"lock_timeout_seconds": 30.0, "partitions": 1},
        broker_options={"partitions": 1},
    )
