"""Handlers that take several events of one transaction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.runtime.trial import (
    Happened,
    Request,
    envelope_of,
    eventually,
    memory_broker,
    put,
    read_topic,
    running,
)

from freehold import Retry, Service, Transaction, event
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import DeclarationError
from freehold.inbox.store import INBOX


@event("elsewhere.renamed", key="key")
class Renamed:
    key: str
    number: int


@event("trial.tallied", key="key")
class Tallied:
    key: str
    number: int


Pairs = Sequence[tuple[Happened, Transaction]]


async def test_events_of_a_transaction_are_given_together_and_each_has_its_receipt() -> None:
    service, broker, calls = Service("trial"), memory_broker(), list[list[int]]()

    @service.handles_batch(Happened)
    async def handle(batch: Pairs, tx: Transaction) -> None:
        assert all(own.db_tx is tx.db_tx for _, own in batch)
        calls.append([happened.number for happened, _ in batch])

    sent = [envelope_of(Happened("k", number)) for number in range(4)]
    await put(broker, *sent[:3], sent[1])
    async with running(service, broker) as started:
        await eventually(lambda: sum(map(len, calls)) == 3)
        for each in sent[:3]:
            assert await started.stores[INBOX].received_at("trial", each.receipt_key) is not None
        await put(broker, sent[0], sent[3])
        await eventually(lambda: sum(map(len, calls)) == 4)
    assert calls == [[0, 1, 2], [3]]


async def test_what_follows_from_an_event_has_it_as_its_cause() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles_batch(Happened)
    async def handle(batch: Pairs, tx: Transaction) -> None:
        assert tx.cause is None
        for happened, own in batch:
            own.publish(Tallied(happened.key, happened.number))

    sent = [envelope_of(Happened(f"k{number}", number)) for number in range(3)]
    await put(broker, *sent)
    async with running(service, broker):
        counted = await read_topic(broker, "trial.events", 3)
    assert {(each.causation_id, each.correlation_id) for each in counted} == {
        (each.id, each.correlation_id) for each in sent
    }


async def test_where_the_call_fails_each_event_is_handled_alone() -> None:
    service, broker, calls, done = Service("trial"), memory_broker(), list[list[int]](), list[int]()

    @service.handles_batch(Happened, retry=Retry(attempts=1))
    async def handle(batch: Pairs, _tx: Transaction) -> None:
        calls.append([happened.number for happened, _ in batch])
        if 2 in calls[-1]:
            raise ValueError("planned")
        done.extend(calls[-1])

    await put(broker, *(envelope_of(Happened("k" if number == 2 else "other", number)) for number in (1, 2, 3)))
    async with running(service, broker) as started:
        await eventually(lambda: set(done) == {1, 3})
        await eventually(lambda: calls[-1] == [3])
        await broker.close()
        letters = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert sorted(done) == [1, 3]
    assert [letter.key for letter in letters] == ["k"]


async def test_the_order_of_a_key_is_kept_beside_other_handlers() -> None:
    service, broker, order = Service("trial"), memory_broker(), list[Any]()

    @service.handles_batch(Happened)
    async def handle(batch: Pairs, _tx: Transaction) -> None:
        order.append([happened.number for happened, _ in batch])

    @service.handles(Renamed)
    async def rename(renamed: Renamed, _tx: Transaction) -> None:
        order.append(renamed.number)

    made = [Happened("k", 0), Happened("k", 1), Renamed("k", 2), Happened("k", 3), Happened("k", 4)]
    await put(broker, *(envelope_of(each) for each in made))
    async with running(service, broker):
        await eventually(lambda: len(order) == 3)
    assert order == [[0, 1], 2, [3, 4]]


async def test_a_call_that_takes_too_long_is_ended() -> None:
    service, broker, calls = Service("trial"), memory_broker(), list[int]()

    @service.handles_batch(Happened, timeout_seconds=0.05)
    async def handle(batch: Pairs, _tx: Transaction) -> None:
        calls.append(len(batch))
        if len(batch) > 1:
            await asyncio.Event().wait()

    await put(broker, *(envelope_of(Happened("k", number)) for number in range(3)))
    async with running(service, broker):
        await eventually(lambda: calls == [3, 1, 1, 1])


def test_commands_and_functions_that_take_something_else_are_refused() -> None:
    service = Service("trial")
    with pytest.raises(DeclarationError, match="is a command"):
        service.handles_batch(Request)
    with pytest.raises(DeclarationError, match="two arguments"):

        @service.handles_batch(Happened)  # type: ignore[arg-type] # what is refused
        async def handle(_batch: Pairs) -> None:
            """Nothing."""

    with pytest.raises(DeclarationError, match="timeout_seconds"):
        service.handles_batch(Happened, timeout_seconds=0.0)
