"""The payment and e-mail providers over a real socket: what they allow, refuse, and do once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from freehold_shop.providers import (
    Captured,
    Declined,
    DeclineRules,
    EmailRules,
    EntryKind,
    Held,
    ProviderConflict,
    ProviderNotFound,
    ProviderRefused,
    ProvidersClient,
    ProviderUnavailable,
    Refunded,
    Rules,
    Voided,
)
from freehold_shop.providers.book import Book
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.server import create_app

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    ledger = Ledger(tmp_path / "ledger.ndjson")
    runner = web.AppRunner(create_app(Book(ledger, lambda: MOMENT), ledger), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    ledger.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[ProvidersClient]:
    async with ProvidersClient(url, timeout_seconds=60) as providers:
        yield providers


async def hold(
    client: ProvidersClient,
    key: str = "hold",
    *,
    order_id: str = "order",
    customer_ref: str = "17850",
    amount_pence: int = 500,
    country: str = "",
) -> Held | Declined:
    return await client.hold(
        order_id=order_id,
        customer_ref=customer_ref,
        amount_pence=amount_pence,
        currency="GBP",
        idempotency_key=key,
        country=country,
    )


async def held(client: ProvidersClient, key: str = "hold") -> str:
    answer = await hold(client, key)
    assert isinstance(answer, Held)
    return answer.hold_id


async def kinds(client: ProvidersClient) -> list[EntryKind]:
    return [entry.kind async for entry in client.entries()]


async def test_hold_capture_refund_stand_in_the_ledger_and_the_summary(client: ProvidersClient) -> None:
    hold_id = await held(client)
    captured = await client.capture(hold_id, idempotency_key="capture")
    assert captured == Captured(captured.capture_id, hold_id, 500)
    refunded = await client.refund(captured.capture_id, amount_pence=200, idempotency_key="refund")
    assert refunded == Refunded(refunded.refund_id, captured.capture_id, 200)
    await client.send_email(to_ref="17850", template="confirmed", order_id="order", idempotency_key="email")

    entries = [entry async for entry in client.entries(page_size=1)]
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert {(entry.order_id, entry.at) for entry in entries} == {("order", MOMENT)}
    assert [(entry.kind, entry.amount_pence, entry.currency) for entry in entries] == [
        (EntryKind.HOLD, 500, "GBP"),
        (EntryKind.CAPTURE, 500, "GBP"),
        (EntryKind.REFUND, 200, "GBP"),
        (EntryKind.EMAIL, 0, ""),
    ]
    (page,) = [page async for page in client.summary_pages()]
    (order,) = page.orders
    assert (order.order_id, order.held_pence, order.captured_pence, order.refunded_pence) == ("order", 500, 500, 200)
    assert (order.voided_pence, order.open_pence, order.emails) == (0, 0, 1)
    assert (page.sequence, page.captured_pence, page.refunded_pence) == (4, 500, 200)


async def test_the_same_key_and_body_give_the_same_answer_and_one_effect(client: ProvidersClient) -> None:
    first = await held(client)
    assert await held(client) == first
    captured = await client.capture(first, idempotency_key="c")
    assert await client.capture(first, idempotency_key="c") == captured
    refunded = await client.refund(captured.capture_id, amount_pence=500, idempotency_key="r")
    assert await client.refund(captured.capture_id, amount_pence=500, idempotency_key="r") == refunded
    assert await kinds(client) == [EntryKind.HOLD, EntryKind.CAPTURE, EntryKind.REFUND]


async def test_one_key_in_flight_many_times_has_one_effect(client: ProvidersClient) -> None:
    await client.put_rules(Rules(latency_seconds=0.05))
    answers = await asyncio.gather(*(hold(client) for _ in range(20)))
    assert len(set(answers)) == 1
    assert await kinds(client) == [EntryKind.HOLD]


async def test_a_key_with_another_request_is_refused(client: ProvidersClient) -> None:
    hold_id = await held(client, "k")
    with pytest.raises(ProviderRefused) as caught:
        await hold(client, "k", amount_pence=501)
    assert (caught.value.status, caught.value.code) == (422, "idempotency-key-reused")
    with pytest.raises(ProviderRefused, match="422"):
        await client.capture(hold_id, idempotency_key="k")
    await client.send_email(to_ref="a", template="t", order_id="o", idempotency_key="k")
    assert await kinds(client) == [EntryKind.HOLD, EntryKind.EMAIL]


async def test_what_the_state_forbids_is_a_conflict(client: ProvidersClient) -> None:
    voided = await held(client, "1")
    assert await client.void(voided, idempotency_key="v") == Voided(voided)
    captured = await client.capture(await held(client, "2"), idempotency_key="c")
    for call, code in (
        (client.capture(voided, idempotency_key="x"), "hold-voided"),
        (client.void(voided, idempotency_key="x"), "hold-voided"),
        (client.void(captured.hold_id, idempotency_key="x"), "hold-captured"),
        (client.capture(captured.hold_id, idempotency_key="x"), "hold-captured"),
        (client.refund(captured.capture_id, amount_pence=501, idempotency_key="x"), "refund-above-captured"),
    ):
        with pytest.raises(ProviderConflict) as caught:
            await call
        assert (caught.value.status, caught.value.code) == (409, code)
    await client.refund(captured.capture_id, amount_pence=300, idempotency_key="r1")
    with pytest.raises(ProviderConflict):
        await client.refund(captured.capture_id, amount_pence=201, idempotency_key="r2")
    assert len(await kinds(client)) == 5


async def test_what_is_unknown_is_not_found(client: ProvidersClient) -> None:
    for call in (
        client.capture("none", idempotency_key="1"),
        client.void("none", idempotency_key="2"),
        client.refund("none", amount_pence=1, idempotency_key="3"),
    ):
        with pytest.raises(ProviderNotFound):
            await call


@pytest.mark.parametrize(
    ("declines", "reason"),
    [
        (DeclineRules(customer_refs=("17850",)), "customer-refused"),
        (DeclineRules(countries=("France",)), "card-country-refused"),
        (DeclineRules(amount_above_pence=499), "amount-above-limit"),
        (DeclineRules(every_nth=1), "insufficient-funds"),
    ],
)
async def test_a_decline_by_rule_is_a_result_and_stays_one(
    client: ProvidersClient, declines: DeclineRules, reason: str
) -> None:
    await client.put_rules(Rules(declines=declines))
    assert await hold(client, country="France") == Declined(reason)
    await client.put_rules(Rules())
    assert await hold(client, country="France") == Declined(reason)
    assert isinstance(await hold(client, "another", country="France"), Held)
    assert await kinds(client) == [EntryKind.DECLINE, EntryKind.HOLD]


async def test_every_nth_hold_is_declined(client: ProvidersClient) -> None:
    await client.put_rules(Rules(declines=DeclineRules(every_nth=3)))
    answers = [await hold(client, str(number)) for number in range(6)]
    assert [isinstance(answer, Declined) for answer in answers] == [False, False, True] * 2


async def test_down_has_no_effect_and_leaves_the_other_provider_up(client: ProvidersClient) -> None:
    await client.put_rules(Rules(down=True))
    with pytest.raises(ProviderUnavailable) as caught:
        await hold(client)
    assert not caught.value.outcome_unknown
    await client.send_email(to_ref="a", template="t", order_id="o", idempotency_key="e")
    await client.put_rules(Rules(emails=EmailRules(down=True)))
    with pytest.raises(ProviderUnavailable):
        await client.send_email(to_ref="a", template="t", order_id="o", idempotency_key="e2")
    await held(client)
    await client.check_health()
    assert await kinds(client) == [EntryKind.EMAIL, EntryKind.HOLD]


async def test_a_lost_answer_had_its_effect_and_the_same_key_finds_it(client: ProvidersClient) -> None:
    await client.put_rules(Rules(lose_answers=1))
    with pytest.raises(ProviderUnavailable) as caught:
        await hold(client)
    assert caught.value.outcome_unknown
    await client.put_rules(Rules())
    (entry,) = [entry async for entry in client.entries()]
    assert await held(client) == entry.hold_id
    assert await kinds(client) == [EntryKind.HOLD]


async def test_a_slow_provider_is_unavailable_after_the_time_limit(client: ProvidersClient, url: str) -> None:
    await client.put_rules(Rules(latency_seconds=300))
    async with ProvidersClient(url, timeout_seconds=1.0) as hasty:
        with pytest.raises(ProviderUnavailable) as caught:
            await hold(hasty)
    assert caught.value.outcome_unknown


async def test_nobody_there_is_unavailable_without_effect() -> None:
    async with ProvidersClient("http://127.0.0.1:9", timeout_seconds=60) as nobody:
        with pytest.raises(ProviderUnavailable) as caught:
            await nobody.check_health()
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/payments/holds", b"{", {"Idempotency-Key": "k"}),
        ("/payments/holds", b'{"order_id":"o","customer_ref":"c","amount_pence":0,"currency":"GBP"}', {}),
        ("/payments/holds", b'{"order_id":"o","customer_ref":"c","amount_pence":1.5,"currency":"GBP"}', {}),
        ("/payments/holds", b'{"order_id":"o","customer_ref":"c","amount_pence":1,"currency":"GBP"}', {}),
        ("/payments/holds", b'{"order_id":"o","customer_ref":"c","amount_pence":1,"currency":"pounds"}', {}),
        ("/emails", b"[]", {"Idempotency-Key": "k" * 256}),
    ],
)
async def test_a_malformed_request_is_a_problem_document(
    client: ProvidersClient, url: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    async with aiohttp.ClientSession() as session, session.post(url + path, data=body, headers=headers) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"
    assert await kinds(client) == []


async def test_malformed_rules_and_pages_are_refused(client: ProvidersClient, url: str) -> None:
    await client.put_rules(Rules(latency_seconds=0.5))
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{url}/rules", data=b'{"dwon":true}') as response:
            assert response.status == 400
        async with session.get(f"{url}/ledger/entries?after=x") as response:
            assert response.status == 400
        async with session.get(f"{url}/nowhere") as response:
            assert response.status == 404
    assert await client.rules() == Rules(latency_seconds=0.5)


async def test_the_summary_comes_in_pages(client: ProvidersClient) -> None:
    for number in range(5):
        await hold(client, str(number), order_id=f"order-{number}")
    pages = [page async for page in client.summary_pages(page_size=2)]
    assert [len(page.orders) for page in pages] == [2, 2, 1]
    assert [order.order_id for page in pages for order in page.orders] == [f"order-{number}" for number in range(5)]
