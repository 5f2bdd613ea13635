"""Values that nobody could keep are refused by every API of the shop with the field's name, and poison nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.shop.services.shop import Shop, running_shop
from tests.integration.shop.services.waiting import until

from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.outbox.store import OUTBOX
from freehold_shop.assembly import SERVICES
from freehold_shop.rules import PENCE_MAX

pytestmark = pytest.mark.timeout(600)

NAN = float("nan")
CUSTOMER = {"customer_id": "c1", "name": "N", "email": "n@example.org", "country": "GB", "address": "1 High Street"}
PRODUCT = {"sku": "A", "description": "a thing", "price_pence": 250}
LINE = {"sku": "A", "quantity": 1, "price_pence": 250}
ORDER = {"order_id": "o9", "customer_id": "c1", "lines": [LINE]}
PIECES = {"sku": "A", "quantity": 1}
RECEIPT = {"receipt_ref": "r9", "lines": [PIECES]}
RETURN = {"return_ref": "t9", "customer_id": "c1", "lines": [PIECES]}


class Asked(NamedTuple):
    """A request. `body` is sent as JSON with NaN, infinities and escapes of half pairs, as Python writes it."""

    service: str
    method: str
    path: str
    body: Any


def line(**changes: object) -> dict[str, Any]:
    return {**ORDER, "lines": [LINE, {**LINE, **changes}]}


_BAD: list[tuple[Asked, tuple[str, ...]]] = [
    *[
        (Asked("users", "POST", "/customers", {**CUSTOMER, **change}), tuple(change))
        for change in (
            {"customer_id": "a\x00"},
            {"customer_id": ".."},
            {"customer_id": ""},
            {"customer_id": "x" * 65},
            {"customer_id": 5},
            {"name": "a\x00b"},
            {"name": "a\nb"},
            {"name": "\ud800"},
            {"name": " "},
            {"name": None},
            {"email": "a\x00@b"},
            {"email": "a@" + "b" * 300},
            {"country": "G\x00"},
            {"address": "a\x00b"},
            {"address": NAN},
        )
    ],
    (Asked("users", "POST", "/customers/bulk", {"customers": [CUSTOMER, {**CUSTOMER, "name": "\x00"}]}), ("1", "name")),
    (Asked("users", "PUT", "/customers/c1", {**CUSTOMER, "name": "\x00"}), ("name",)),
    (Asked("users", "PUT", "/customers/c%00", {k: v for k, v in CUSTOMER.items() if k != "customer_id"}), ("path",)),
    *[
        (Asked("catalog", "POST", "/products/bulk", {"products": [{**PRODUCT, **change}]}), ("0", *change))
        for change in (
            {"sku": "a\x00"},
            {"sku": ".."},
            {"sku": "a/../b"},
            {"sku": "/a"},
            {"sku": " a"},
            {"sku": ""},
            {"sku": "\ud800"},
            {"description": "\x00"},
            {"price_pence": 10**30},
            {"price_pence": NAN},
            {"price_pence": float("inf")},
            {"price_pence": True},
            {"price_pence": "5"},
            {"currency": "GB\x00"},
        )
    ],
    (Asked("catalog", "PUT", "/products/A", {"description": "\x00", "price_pence": 1}), ("description",)),
    (Asked("catalog", "POST", "/products/query", {"skus": ["\x00"]}), ("skus", "0")),
    *[
        (Asked("inventory", "POST", "/stock/receipts", {**RECEIPT, **change}), place)
        for change, place in (
            ({"receipt_ref": "a\x00"}, ("receipt_ref",)),
            ({"receipt_ref": ""}, ("receipt_ref",)),
            ({"lines": [PIECES, {**PIECES, "sku": "a\x00"}]}, ("1", "sku")),
            ({"lines": [{**PIECES, "quantity": 10**10}]}, ("0", "quantity")),
            ({"lines": [{**PIECES, "quantity": NAN}]}, ("0", "quantity")),
            ({"lines": [{**PIECES, "quantity": -1}]}, ("0", "quantity")),
        )
    ],
    (Asked("inventory", "POST", "/stock/query", {"skus": ["a", "\x00"]}), ("skus", "1")),
    (Asked("inventory", "POST", "/holds/query", {"order_ids": ["\x00"]}), ("order_ids", "0")),
    *[
        (Asked("orders", "POST", "/orders", body), place)
        for body, place in (
            ({**ORDER, "order_id": "."}, ("order_id",)),
            ({**ORDER, "order_id": ".."}, ("order_id",)),
            ({**ORDER, "order_id": "summary"}, ("order_id",)),
            ({**ORDER, "order_id": "a\x00"}, ("order_id",)),
            ({**ORDER, "order_id": ""}, ("order_id",)),
            ({**ORDER, "customer_id": "\ud800"}, ("customer_id",)),
            ({**ORDER, "customer_id": ".."}, ("customer_id",)),
            ({**ORDER, "currency": "GB\x00"}, ("currency",)),
            ({**ORDER, "placed_at": "0001-01-01T00:00:00+14:00"}, ("placed_at",)),
            ({**ORDER, "placed_at": "9999-12-31T23:59:59-12:00"}, ("placed_at",)),
            ({**ORDER, "placed_at": "2026-01-01T00:00:00"}, ("placed_at",)),
            ({**ORDER, "placed_at": 5}, ("placed_at",)),
            (line(sku="a\x00"), ("1", "sku")),
            (line(sku="\ud800"), ("1", "sku")),
            (line(sku="a//b"), ("1", "sku")),
            (line(quantity=NAN), ("1", "quantity")),
            (line(quantity=1e999), ("1", "quantity")),
            (line(quantity=True), ("1", "quantity")),
            (line(price_pence=10**19), ("1", "price_pence")),
            (line(price_pence=0.5), ("1", "price_pence")),
            (line(quantity=10**9, price_pence=10**9), ("lines",)),
        )
    ],
    (Asked("orders", "POST", "/orders/query", {"order_ids": ["\x00"]}), ("order_ids", "0")),
    (Asked("orders", "POST", "/returns", {**RETURN, "return_ref": ".."}), ("return_ref",)),
    (Asked("orders", "POST", "/returns", {**RETURN, "lines": [{**PIECES, "sku": "\x00"}]}), ("0", "sku")),
    (Asked("payments", "POST", "/payments/query", {"order_ids": ["\x00"]}), ("order_ids", "0")),
    (Asked("shipping", "POST", "/shipments/query", {"order_ids": ["\x00"]}), ("order_ids", "0")),
    (Asked("notifications", "POST", "/notifications/query", {"order_ids": ["\x00"]}), ("order_ids", "0")),
    *[
        (Asked(service, method, path, None), place)
        for service, method, path, place in (
            ("users", "GET", "/customers/%00", ("path", "customer_id")),
            ("catalog", "GET", "/products/a%00", ("path", "sku")),
            ("inventory", "GET", "/stock/a%00", ("path", "sku")),
            ("inventory", "GET", "/reservations/%00", ("path", "order_id")),
            ("orders", "GET", "/orders/%00", ("path", "order_id")),
            ("orders", "GET", f"/orders/{'x' * 65}", ("path", "order_id")),
            ("orders", "GET", "/orders?customer_id=%00", ("query", "customer_id")),
            ("orders", "GET", f"/orders?limit={10**30}", ("query", "limit")),
            ("orders", "GET", "/order-summaries?customer_id=%00", ("query", "customer_id")),
            ("orders", "GET", "/returns/%00", ("path", "return_ref")),
            ("payments", "GET", "/payments/%00", ("path", "order_id")),
            ("shipping", "GET", "/shipments/%00", ("path", "order_id")),
            ("shipping", "POST", "/shipments/%00/dispatch", ("path", "order_id")),
            ("shipping", "POST", "/shipments/%00/delivery", ("path", "order_id")),
            ("notifications", "GET", "/notifications/%00", ("path", "order_id")),
            ("reference", "GET", "/countries/%00", ("path", "code")),
            ("overview", "GET", "/customers/%00/360", ("path", "customer_id")),
        )
    ],
]


async def test_every_api_refuses_by_the_fields_name_and_nothing_is_poisoned(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        await _refuse_all(shop)


@pytest.mark.servers
async def test_on_postgresql_too(tmp_path: Path, postgres_databases: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=postgres_databases) as shop:
        await _refuse_all(shop)


@pytest.mark.servers
async def test_on_mariadb_too(tmp_path: Path, databases_on_mariadb: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=databases_on_mariadb) as shop:
        await _refuse_all(shop)


_nasty = st.one_of(
    st.text(st.sampled_from("aA.1/\\ \x00\n\x7f\x85é\N{SNOWMAN}\ud800\u2028%?#"), max_size=6),
    st.text(max_size=4),
    st.sampled_from([".", "..", "summary", "a" * 600, "\x00", "GB", "GBP", "c1", "A", "o1", "2026-01-01T00:00:00Z"]),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**53, 2**63, 10**9, 10**30, 0.5, NAN, float("inf"), -float("inf"), 1e308]),
    st.none() | st.booleans(),
    st.just([]) | st.just({}) | st.lists(st.text(max_size=2), max_size=2),
)


@st.composite
def _spoilt(draw: st.DrawFn, good: Mapping[str, Any]) -> dict[str, Any]:
    """A good document with one field, or a few, as they should not be; of a list, those of its parts."""
    document = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2)):
        whole = not isinstance(good[name], list) or draw(st.booleans())
        document[name] = draw(_nasty) if whole else draw(st.lists(_spoilt(good[name][0]), min_size=1, max_size=3))
    return document


_requests = st.one_of(
    st.builds(Asked, st.just("users"), st.just("POST"), st.just("/customers"), _spoilt(CUSTOMER)),
    st.builds(Asked, st.just("users"), st.just("PUT"), st.just("/customers/c1"), _spoilt(CUSTOMER)),
    st.builds(Asked, st.just("catalog"), st.just("POST"), st.just("/products/bulk"), _spoilt({"products": [PRODUCT]})),
    st.builds(Asked, st.just("catalog"), st.just("PUT"), st.just("/products/A"), _spoilt(PRODUCT)),
    st.builds(Asked, st.just("inventory"), st.just("POST"), st.just("/stock/receipts"), _spoilt(RECEIPT)),
    st.builds(Asked, st.just("orders"), st.just("POST"), st.just("/orders"), _spoilt({**ORDER, "placed_at": "x"})),
    st.builds(Asked, st.just("orders"), st.just("POST"), st.just("/returns"), _spoilt(RETURN)),
)
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@given(st.lists(_requests, min_size=40, max_size=80))
@settings(max_examples=3, deadline=None, suppress_health_check=_QUIET)
async def test_whatever_is_sent_no_service_fails_and_all_consumers_come_to_rest(asked: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with running_shop(Path(directory)) as shop:
            await _send_all(shop, asked)


@pytest.mark.servers
@given(st.lists(_requests, min_size=60, max_size=60))
@settings(max_examples=1, deadline=None, suppress_health_check=_QUIET)
async def test_whatever_is_sent_on_postgresql(postgres_databases: Mapping[str, str], asked: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with running_shop(Path(directory), databases=postgres_databases) as shop:
            await _send_all(shop, asked)


@pytest.mark.servers
@given(st.lists(_requests, min_size=60, max_size=60))
@settings(max_examples=1, deadline=None, suppress_health_check=_QUIET)
async def test_whatever_is_sent_on_mariadb(databases_on_mariadb: Mapping[str, str], asked: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with running_shop(Path(directory), databases=databases_on_mariadb) as shop:
            await _send_all(shop, asked)


async def _refuse_all(shop: Shop) -> None:
    await shop.stock_up(A=10)
    await shop.register("c1")
    for asked, place in _BAD:
        status, document = await _ask(shop, asked)
        assert status == 422, (asked, document)
        places = [each["at"] for each in document["errors"]]
        assert any(set(place) <= set(at) for at in places), (asked, places)
        assert "x" * 65 not in json.dumps(document)
    await _is_well(shop)


async def _send_all(shop: Shop, asked: list[Asked]) -> None:
    await shop.stock_up(A=10)
    await shop.register("c1")
    for each in asked:
        status, document = await _ask(shop, each)
        # Nothing listens where an unknown customer or country would be asked for.
        unavailable = status == 503 and str(document.get("code", "")).endswith("-unavailable")
        assert status < 500 or unavailable, (each, document)
    await _is_well(shop)


async def _is_well(shop: Shop) -> None:
    """An order goes its way as ever, nothing is a dead letter, and nothing waits for a next attempt."""
    await shop.order("o1", "saga", A=1)
    assert (await shop.ended("o1"))["status"] == "confirmed"
    for name in SERVICES:
        await until(partial(_at_rest, shop, name))
        letters = await shop.runtime[name].stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert not letters, (name, [(each.type, each.reason) for each in letters])


async def _at_rest(shop: Shop, name: str) -> bool:
    running = shop.runtime[name]
    waiting = await shop.rows(name, "SELECT count(*) FROM freehold_deferred")
    lag = sum(each.pending for each in await running.broker.lag(name))
    return waiting[0][0] == 0 and lag == 0 and (await running.stores[OUTBOX].stats()).pending == 0


async def _ask(shop: Shop, asked: Asked) -> tuple[int, Any]:
    content = None if asked.body is None else json.dumps(asked.body)
    headers = {} if content is None else {"content-type": "application/json"}
    answer = await shop.clients[asked.service].request(asked.method, asked.path, content=content, headers=headers)
    return answer.status_code, answer.json()


def test_the_largest_sum_is_exact_for_every_reader_of_json() -> None:
    assert float(PENCE_MAX) == PENCE_MAX
