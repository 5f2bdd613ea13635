"""Loops that are paused and resumed, services that end by signal, messages that a handler schedules."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from uuid import UUID

import pytest
from tests.unit.runtime.trial import Happened, envelope_of, eventually, memory_broker, put, running, settings_for

from freehold import Runtime, Service, Transaction, command, event, run
from freehold.broker import OutgoingMessage
from freehold.outbox.store import OUTBOX
from freehold.schedule.store import SCHEDULE


@event("trial.told", key="key")
class Told:
    key: str


@command("trial.remind", key="key")
class Remind:
    key: str


async def test_a_paused_relay_keeps_what_is_staged_and_sends_it_when_it_goes_on() -> None:
    service, broker, sent = Service("trial"), memory_broker(), list[str]()
    publish = broker.publish

    async def noted(messages: list[OutgoingMessage], timeout_seconds: float, *, log: str = "") -> object:
        sent.extend(message.key for message in messages)
        return await publish(messages, timeout_seconds, log=log)

    broker.publish = noted  # type: ignore[method-assign, assignment] # to see what is sent
    async with running(service, broker) as started:
        await started.pause("relay")
        await started.pause("relay")
        for key in "abc":
            async with started.transaction() as tx:
                tx.publish(Told(key))
        assert (await started.stores[OUTBOX].stats()).pending == 3
        assert sent == []
        await started.resume("relay")
        await started.resume("relay")
        await eventually(lambda: sent == ["a", "b", "c"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_services_in_order(number: signal.Signals) -> None:
    states: list[bool] = []

    def ready(runtime: Runtime) -> None:
        states.append(runtime["trial"].started)
        states.append(gc.get_freeze_count() > 0)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    async with asyncio.timeout(30):
        await run(Service("trial"), settings={"trial": settings_for("trial")}, on_ready=ready)
    assert states == [True, True]
    assert gc.get_freeze_count() == 0
    assert signal.getsignal(number) in {before, signal.default_int_handler, signal.SIG_DFL}


async def test_what_a_handler_schedules_comes_and_what_it_cancels_does_not() -> None:
    service, broker, reminded = Service("trial"), memory_broker(), list[str]()
    scheduled: dict[str, UUID] = {}

    @service.handles(Happened)
    async def happened(event: Happened, tx: Transaction) -> None:
        if event.number == 0:
            delay_seconds = 0.3 if event.key == "kept" else 60.0
            scheduled[event.key] = tx.schedule(Remind(event.key), delay_seconds=delay_seconds)
        else:
            assert await tx.cancel(scheduled[event.key])

    @service.handles(Remind)
    async def remind(command: Remind, tx: Transaction) -> None:
        reminded.append(command.key)

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("dropped", 0)), envelope_of(Happened("kept", 0)))
        await eventually(lambda: len(scheduled) == 2)
        await put(broker, envelope_of(Happened("dropped", 1)))
        await eventually(lambda: reminded == ["kept"])
        async with asyncio.timeout(30):
            while await started.stores[SCHEDULE].find(None, 10):  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)
    assert reminded == ["kept"]
