"""The effect ledger: what it records of its callers, also of those that are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.forking import forked

from freehold.testing import EffectAnswer, EffectClient, EffectFailed, EffectLedger, EffectState, EffectUnknown


@pytest.fixture
def ledger() -> Iterator[EffectLedger]:
    with EffectLedger() as opened:
        yield opened


async def _perform(ledger: EffectLedger, key: str, body: dict[str, object] | None = None, **options: str) -> bool:
    return await EffectClient(ledger.address).perform("charge", key, body, **options)


async def test_an_effect_takes_place_once_for_a_key(ledger: EffectLedger) -> None:
    assert [await _perform(ledger, key, {"pence": 5}) for key in ("a", "b", "a")] == [True] * 3
    assert ledger.effects("charge") == ["a", "b"]
    assert [(each.key, each.applied) for each in ledger.requests] == [("a", True), ("b", True), ("a", False)]
    assert ledger.requests[2].body == {"pence": 5}


async def test_without_a_key_each_request_is_an_effect(ledger: EffectLedger) -> None:
    await _perform(ledger, "")
    await _perform(ledger, "")
    assert ledger.effects("charge") == ["", ""]


def test_code_that_is_not_async_calls_it_too(ledger: EffectLedger) -> None:
    ledger.answer("mail", EffectAnswer.DECLINED, key="b")
    client = EffectClient(ledger.address)
    assert client.perform_sync("mail", "a")
    assert not client.perform_sync("mail", "b")
    assert ledger.effects("mail") == ["a"]


async def test_a_declined_key_stays_declined(ledger: EffectLedger) -> None:
    ledger.answer("charge", EffectAnswer.DECLINED, times=1)
    assert [await _perform(ledger, "a"), await _perform(ledger, "a")] == [False, False]
    assert ledger.state("a") is EffectState.DECLINED
    assert await _perform(ledger, "b")


async def test_an_error_does_nothing(ledger: EffectLedger) -> None:
    ledger.answer("charge", EffectAnswer.ERROR, times=1)
    with pytest.raises(EffectFailed, match="planned"):
        await _perform(ledger, "a")
    assert ledger.state("a") is None
    assert await _perform(ledger, "a")


async def test_what_hangs_does_nothing_and_what_loses_its_answer_is_done(ledger: EffectLedger) -> None:
    ledger.answer("charge", EffectAnswer.HANG, key="a")
    ledger.answer("charge", EffectAnswer.ANSWER_LOST, times=1)
    impatient = EffectClient(ledger.address, timeout_seconds=0.2)
    with pytest.raises(EffectUnknown):
        await impatient.perform("charge", "a")
    with pytest.raises(EffectUnknown):
        await asyncio.to_thread(impatient.perform_sync, "charge", "a")
    with pytest.raises(EffectUnknown):
        await _perform(ledger, "b")
    assert ledger.effects("charge") == ["b"]
    ledger.clear_answers()
    assert await _perform(ledger, "a")
    assert await _perform(ledger, "b")
    assert ledger.effects("charge") == ["b", "a"]


async def test_a_compensation_reverses_its_action(ledger: EffectLedger) -> None:
    await _perform(ledger, "a")
    assert await EffectClient(ledger.address).perform("refund", "a-back", compensates="a")
    assert (ledger.effects("charge"), ledger.effects("refund")) == ([], ["a-back"])
    assert ledger.state("a") is EffectState.COMPENSATED


async def test_a_compensation_that_comes_first_cancels_its_action(ledger: EffectLedger) -> None:
    await EffectClient(ledger.address).perform("refund", "a-back", compensates="a")
    assert not await _perform(ledger, "a")
    assert ledger.state("a") is EffectState.CANCELLED


async def test_a_key_for_two_things_is_a_conflict(ledger: EffectLedger) -> None:
    await _perform(ledger, "a", {"pence": 5})
    with pytest.raises(EffectFailed, match="used again"):
        await _perform(ledger, "a", {"pence": 6})
    assert len(ledger.conflicts) == 1
    assert ledger.effects("charge") == ["a"]


async def test_a_killed_caller_leaves_what_it_did(ledger: EffectLedger) -> None:
    ledger.answer("charge", EffectAnswer.HANG, key="b")
    caller = await forked("tests.unit.testing.effect_caller", ledger.address)
    await ledger.reached(lambda: len(ledger.requests) == 2)
    caller.kill()
    await caller.end()
    assert ledger.effects("charge") == ["a"]
    assert ledger.state("b") is None


def test_a_condition_that_never_holds_has_a_time_limit(ledger: EffectLedger) -> None:
    with pytest.raises(TimeoutError, match="0 requests"):
        ledger.wait_for(lambda: False, timeout_seconds=0.01)


def test_nobody_listens_after_the_end() -> None:
    with EffectLedger() as ledger:
        EffectClient(ledger.address).perform_sync("charge", "a")
    with pytest.raises(EffectUnknown):
        EffectClient(ledger.address).perform_sync("charge", "b")
    assert ledger.effects("charge") == ["a"]
