"""Rows of lanes are locked last: whoever flushes has its streams and keys by then, also where nothing is appended."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runtime.trial import Happened, envelope_of, eventually, memory_broker, put, running

from freehold import Service, Transaction, event
from freehold.consistency.store import PROGRESS
from freehold.eventstore.store import EVENTS
from freehold.messages.lanes import lane_name
from freehold.outbox.store import OUTBOX


@event("trial.kept", key="key")
class Kept:
    key: str
    number: int


@pytest.mark.parametrize("appends", [False, True], ids=["publishes", "appends"])
async def test_progress_is_written_after_everything_else(monkeypatch: pytest.MonkeyPatch, appends: bool) -> None:
    service, broker, steps = Service("trial"), memory_broker(), list[str]()

    @service.handles(Happened)
    async def handle(told: Happened, tx: Transaction) -> None:
        tx.publish(Kept(told.key, told.number))
        if appends:
            tx.append(f"kept-{told.key}", Kept(told.key, told.number))

    async with running(service, broker) as started:

        def note(store: object, name: str) -> None:
            real = getattr(store, name)

            async def noted(*arguments: Any, **named: Any) -> Any:
                steps.append(name)
                return await real(*arguments, **named)

            monkeypatch.setattr(store, name, noted)

        note(started.stores[OUTBOX], "stage")
        note(started.stores[PROGRESS], "advance")
        note(started.stores[EVENTS], "append")
        await put(broker, envelope_of(Happened("a", 1), lane=lane_name("elsewhere", 0), watermark=7, position=7))
        await eventually(lambda: "advance" in steps)
    assert steps == ["append", "stage", "advance"][0 if appends else 1 :]
