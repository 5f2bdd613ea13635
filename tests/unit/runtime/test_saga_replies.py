"""Replies to a saga whose code fails: through the real consumer, none is deferred, given up or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tests.unit.runtime.trial import eventually, memory_broker, running

from freehold import RunningService, Saga, Service, command, local, step
from freehold.deadletters.store import DEAD_LETTERS
from freehold.ids import new_id
from freehold.inbox.reply import Rejected
from freehold.inbox.store import INBOX
from freehold.policy import Retry
from freehold.saga.store import SAGAS, SagaFilter, SagaStatus
from freehold.transaction import Transaction

OFTEN = Retry(attempts=3, delay_seconds=0.01)


@command("replying.ask", key="key")
class Ask:
    key: str


@command("replying.unask", key="key")
class Unask:
    key: str


@dataclass(frozen=True, slots=True)
class State:
    key: str


@dataclass(slots=True)
class Trial:
    """A service that orchestrates a saga, and handles its commands itself."""

    fails: Callable[[State], None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    hooked: int = 0
    sagas: dict[str, type[Saga[State]]] = field(default_factory=dict)

    def service(self) -> Service:
        service = Service("replying")

        @service.handles(Ask)
        async def ask(message: Ask, tx: Transaction) -> None:
            self.asked.append(message.key)

        @service.handles(Unask)
        async def unask(message: Unask, tx: Transaction) -> None:
            self.asked.append(f"un-{message.key}")

        async def hook(state: State, tx: Transaction) -> None:
            self.hooked += 1
            self.fails(state)

        async def waits(state: State, tx: Transaction) -> None:
            if self.hooked == 0:
                self.hooked += 1
                await asyncio.Event().wait()

        @service.orchestrates
        class Asking(Saga[State], name="replying.asking", key="key", hook_retry=OFTEN):
            ask = step(Ask, compensation=Unask)
            on_completed = hook

        @service.orchestrates
        class Waiting(Saga[State], name="replying.waiting", key="key", hook_retry=OFTEN):
            ask = step(Ask, compensation=Unask)
            wait = local(waits, no_compensation=True, after=ask)

        self.sagas = {"asking": Asking, "waiting": Waiting}
        return service


async def _status(started: RunningService, wanted: SagaStatus) -> None:
    async with asyncio.timeout(30):
        while wanted not in {status for _, status in await started.stores[SAGAS].count()}:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


def _raises(error: Exception) -> Callable[[State], None]:
    def fail(_state: State) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [ValueError("x"), Rejected("no")])
async def test_a_bug_in_a_hook_costs_no_reply(error: Exception) -> None:
    trial = Trial(_raises(error))
    service = trial.service()
    async with running(service, memory_broker()) as started:
        saga_id = new_id()
        async with started.transaction() as tx:
            await trial.sagas["asking"].start(tx, State("a"), saga_id=saga_id)
        await _status(started, SagaStatus.NEEDS_ATTENTION)
        assert trial.hooked >= 3
        assert trial.asked == ["a"]
        assert await started.stores[DEAD_LETTERS].count() == {}
        assert (await started.stores[INBOX].stats()).pending == 0
        trial.fails = lambda _: None
        async with started.transaction() as tx:
            await started.sagas.retry(tx, saga_id, reason="mended")
        await _status(started, SagaStatus.COMPLETED)
    assert trial.asked == ["a"]


async def test_a_batch_of_replies_with_a_bad_one_loses_none() -> None:
    trial = Trial()
    service = trial.service()

    failed: set[str] = set()

    def fail_once(state: State) -> None:
        if state.key not in failed:
            failed.add(state.key)
            raise ValueError

    trial.fails = fail_once
    async with running(service, memory_broker()) as started:
        async with started.transaction() as tx:
            for number in range(20):
                await trial.sagas["asking"].start(tx, State(f"k{number}"))
        async with asyncio.timeout(30):
            ended = {("replying.asking", SagaStatus.COMPLETED): 20}
            while await started.stores[SAGAS].count() != ended:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)
        assert set(trial.asked) == {f"k{number}" for number in range(20)}  # batches are handled again one by one
        assert await started.stores[DEAD_LETTERS].count() == {}


async def test_a_hook_that_ends_the_process_costs_no_reply() -> None:
    """The reply is delivered again: it is put on record first, and the code runs behind that."""
    trial, broker, url = Trial(), memory_broker(), f"memory://{new_id().hex}"
    service = trial.service()
    async with running(service, broker, database=url) as started:
        async with started.transaction() as tx:
            await trial.sagas["waiting"].start(tx, State("a"))
        await eventually(lambda: trial.hooked == 1)
        await started.stop(0.0)  # as near to a kill as a test in one process comes
    async with running(service, broker, database=url) as started:
        await _status(started, SagaStatus.COMPLETED)
        assert await started.stores[DEAD_LETTERS].count() == {}
        (instance,) = await started.stores[SAGAS].find(SagaFilter())
        words = [f"{entry.step}:{entry.what}" for entry in await started.stores[SAGAS].journal(instance.id)]
    assert words.count("ask:done") == 1
    assert trial.asked == ["a"]
