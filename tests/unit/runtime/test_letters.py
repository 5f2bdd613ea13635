"""Dead letters in people's hands: edited, replayed once, dropped, and written down."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.runtime.trial import Happened, Request, envelope_of, eventually, memory_broker, put, running

from freehold import (
    CodecError,
    ConcurrencyConflict,
    InvalidValue,
    NotFound,
    Retry,
    RunningService,
    Service,
    Transaction,
    event,
    upcaster,
)
from freehold.audit.store import AUDIT
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus
from freehold.inbox.store import INBOX
from freehold.runtime import DeadLetterActions, service_context


@event("trial.upgraded", version=2, key="key")
class Upgraded:
    key: str
    number: int


@upcaster("trial.upgraded", from_version=1)
def numbered(body: dict[str, Any]) -> dict[str, Any]:
    return {"key": body["key"], "number": body["count"]}


BY: dict[str, Any] = {"actor": "ann", "reason": "fixed"}


def _service(seen: list[tuple[int, UUID | None]]) -> Service:
    service = Service("trial")

    @service.handles(Happened, retry=Retry(attempts=1))
    async def happened(event: Happened, tx: Transaction) -> None:
        if event.number < 0:
            raise ValueError("planned")
        seen.append((event.number, tx.cause.causation_id if tx.cause else None))

    @service.handles(Request, retry=Retry(attempts=1))
    async def request(request: Request, tx: Transaction) -> None:
        if len(seen) == 0:
            seen.append((0, None))
            raise ValueError("planned")
        seen.append((request.number, None))

    return service


async def _letter(started: RunningService) -> DeadLetter:
    async with asyncio.timeout(30):
        while True:
            found = await started.stores[DEAD_LETTERS].find(DeadLetterFilter())
            if found:
                return found[0]
            await asyncio.sleep(0.01)


async def test_an_edited_letter_is_replayed_once_as_a_new_message_linked_to_the_original() -> None:
    seen: list[tuple[int, UUID | None]] = []
    broker = memory_broker()
    original = envelope_of(Happened("a", -1))
    async with running(_service(seen), broker) as started:
        await put(broker, original)
        letter = await _letter(started)
        actions = DeadLetterActions(started.context)
        with pytest.raises(CodecError, match="does not fit"):
            await actions.edit(letter.id, b'{"key":"a"}', **BY)
        with pytest.raises(InvalidValue, match="key"):
            await actions.edit(letter.id, b'{"key":"a\\u0000","number":5}', **BY)
        await actions.edit(letter.id, b'{"key":"a","number":5}', **BY)
        new_id = await actions.replay(letter.id, **BY)
        await eventually(lambda: seen == [(5, original.id)])
        with pytest.raises(ConcurrencyConflict):
            await actions.replay(letter.id, **BY)
        kept = await actions.get(letter.id)
        assert (kept.status, kept.replayed_as, kept.document) == (DeadLetterStatus.REPLAYED, new_id, letter.document)
        trail = await started.stores[AUDIT].find(str(letter.id), 10)
    assert [entry.action for entry in trail] == ["dead-letter.replay", "dead-letter.edit"]
    assert {(entry.actor, entry.reason) for entry in trail} == {("ann", "fixed")}


async def test_an_edited_body_of_a_version_that_is_only_upcast_is_checked_too() -> None:
    """Nothing is declared in its version: it has to be fit for the upcaster, and for what that makes of it."""
    old = replace(envelope_of(Upgraded("a", -1)), version=1, body=b'{"key":"a","count":-1}')
    seen: list[int] = []
    service, broker = Service("trial"), memory_broker()

    @service.handles(Upgraded, retry=Retry(attempts=1))
    async def upgraded(event: Upgraded, tx: Transaction) -> None:
        if event.number < 0:
            raise ValueError("planned")
        seen.append(event.number)

    async with running(service, broker) as started:
        await put(broker, old)
        letter = await _letter(started)
        actions = DeadLetterActions(started.context)
        for body in (b'{"key":"a"}', b'{"key":"a","count":"many"}', b"[]"):
            with pytest.raises(CodecError):
                await actions.edit(letter.id, body, **BY)
        assert (await actions.get(letter.id)).edited is None
        await actions.edit(letter.id, b'{"key":"a","count":5}', **BY)
        await actions.replay(letter.id, **BY)
        await eventually(lambda: seen == [5])


async def test_a_replayed_request_whose_effect_exists_by_now_has_no_second_one() -> None:
    seen: list[tuple[int, UUID | None]] = []
    broker = memory_broker()
    first, second = (envelope_of(Request("k", n), idempotency_key="once") for n in (1, 2))
    async with running(_service(seen), broker) as started:
        await put(broker, first)
        letter = await _letter(started)
        await put(broker, second)
        await eventually(lambda: len(seen) == 2)
        await DeadLetterActions(started.context).replay(letter.id, **BY)
        async with asyncio.timeout(30):
            while (await started.stores[INBOX].stats()).pending:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.01)
    assert seen == [(0, None), (2, None)]


async def test_a_discarded_letter_has_ended() -> None:
    broker = memory_broker()
    async with running(_service([]), broker) as started:
        await put(broker, envelope_of(Happened("a", -1)))
        letter = await _letter(started)
        actions = DeadLetterActions(started.context)
        await actions.discard(letter.id, **BY)
        with pytest.raises(ConcurrencyConflict):
            await actions.discard(letter.id, **BY)
        with pytest.raises(NotFound):
            await actions.discard(uuid4(), **BY)
        assert await actions.find(DeadLetterFilter()) == []


async def test_a_letter_that_outlived_the_receipts_asks_for_a_second_thought() -> None:
    broker = memory_broker()

    class Later:
        def __init__(self, started: RunningService) -> None:
            self._clock = started.context.clock

        def now(self) -> datetime:
            return self._clock.now() + timedelta(days=8)

        def monotonic(self) -> float:
            return self._clock.monotonic()

        async def sleep(self, seconds: float) -> None:
            await self._clock.sleep(seconds)

    async with running(_service([]), broker) as started:
        await put(broker, envelope_of(Happened("a", -1)))
        letter = await _letter(started)
        actions = DeadLetterActions(
            service_context(started.service, started.stores, started.settings, clock=Later(started))
        )
        with pytest.raises(ConcurrencyConflict, match="days old"):
            await actions.replay(letter.id, **BY)
        await actions.replay(letter.id, ignore_replay_window=True, **BY)
