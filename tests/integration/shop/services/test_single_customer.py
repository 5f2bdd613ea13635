"""One customer's read model made again from what the overview has kept, while more of it comes; on both engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shop.services.waiting import until

from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.messages import encode_body, message_type
from freehold.projection.operations import ProjectionOperations
from freehold.projection.store import CHECKPOINTS
from freehold.runtime import RunningService
from freehold.settings import Settings
from freehold.sql import SQL
from freehold_shop.assembly import run_service
from freehold_shop.inventory.contracts import StockReserved
from freehold_shop.money import Money
from freehold_shop.notifications.contracts import NotificationSent
from freehold_shop.orders.contracts import CheckoutMode, OrderConfirmed, OrderLine, OrderPlaced
from freehold_shop.overview.order_state import Hold, Standing
from freehold_shop.overview.projection import customer_stream, order_stream
from freehold_shop.payments.contracts import PaymentCaptured, PaymentHeld
from freehold_shop.shipping.contracts import ShipmentCreated
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated
from freehold_shop.verify.expected_state import Stored, fold_overview, fold_profile

pytestmark = pytest.mark.timeout(600)

CUSTOMERS = ("c1", "c2", "c3")
ORDERS_BEFORE = 4
REBUILDS = 9
WHO: Any = {"actor": "ann", "reason": "somebody edited rows"}
_MONEY = Money(500)
_PROFILE = "SELECT customer_id, name, email, country, revision FROM customer_profile"
_ORDERS = """SELECT order_id, customer_id, currency, total_pence, placed_at_ms, lines, standing, hold,
    payment_status, amount_pence, captured_pence, refunded_pence, shipment_status FROM customer_order"""
_SENT = "SELECT order_id, template FROM customer_notification"
DAMAGES = (
    "UPDATE customer_profile__g1 SET name = 'edited', revision = 1000000 WHERE customer_id = 'c1'",
    "DELETE FROM customer_profile__g1 WHERE customer_id = 'c1'",
    "DELETE FROM customer_order__g1 WHERE customer_id = 'c1'",
    "UPDATE customer_order__g1 SET customer_id = 'c2', standing = 9 WHERE order_id = 'c1-0'",
    "UPDATE customer_order__g1 SET customer_id = 'c1', hold = 0 WHERE order_id = 'c2-0'",
    "INSERT INTO customer_order__g1 (order_id, customer_id, standing, hold) VALUES ('made-up', 'c1', 1, 0)",
    "DELETE FROM customer_notification__g1 WHERE order_id LIKE 'c1-%'",
    "INSERT INTO customer_notification__g1 (order_id, template) VALUES ('c1-1', 'made-up')",
)
EDITED_ELSEWHERE = (
    "UPDATE customer_profile__g1 SET name = 'stays' WHERE customer_id = 'c3'",
    "UPDATE customer_order__g1 SET refunded_pence = 77 WHERE order_id = 'c3-1'",
    "DELETE FROM customer_notification__g1 WHERE order_id = 'c3-2'",
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def overview(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningService]:
    """The overview with its projections at work, on an empty database of each engine."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/s.db"
    settings = Settings.load("overview", environ={}, database=url, broker=f"memory://{tmp_path.name}", poll_seconds=0.1)
    running = run_service("overview", settings)
    running.roles = ("projections",)
    async with running:
        yield running


async def keep(running: RunningService, stream: str, event: object) -> None:
    declared = message_type(type(event))
    kept = NewEvent(new_id(), declared.name, declared.version, encode_body(event), new_id(), 1)
    await running.stores[EVENTS].append_now([Append(stream, [kept])])


def life(customer_id: str, number: int) -> Iterator[tuple[str, object]]:
    """What is told of an order, with the stream it is kept in."""
    order_id = f"{customer_id}-{number}"
    lines = (OrderLine("A", 1, 200), OrderLine("B", number + 1, 300))
    for event in (
        OrderPlaced(order_id, customer_id, CheckoutMode.SAGA, _MONEY, lines, 1_000 + number),
        StockReserved(order_id, customer_id, _MONEY),
        PaymentHeld(order_id, customer_id, f"H{number}", _MONEY),
        OrderConfirmed(order_id, customer_id, CheckoutMode.SAGA, _MONEY),
        PaymentCaptured(order_id, _MONEY),
        NotificationSent(order_id, "order-confirmed"),
        ShipmentCreated(order_id, f"S{number}"),
    ):
        yield order_stream(order_id), event


async def fill(running: RunningService) -> None:
    for customer_id in CUSTOMERS:
        registered = CustomerRegistered(customer_id, "N", "n@example.org", "GB", "A", 1)
        await keep(running, customer_stream(customer_id), registered)
        for number in range(ORDERS_BEFORE):
            for stream, event in life(customer_id, number):
                await keep(running, stream, event)


@asynccontextmanager
async def told_all_the_time(running: RunningService) -> AsyncIterator[None]:
    """The first two customers move house and order, all the time."""
    stop = asyncio.Event()

    async def tell(customer_id: str) -> None:
        number = ORDERS_BEFORE
        while not stop.is_set():
            updated = UserUpdated(customer_id, f"N{number}", "n@example.org", "FR", "B", number)
            await keep(running, customer_stream(customer_id), updated)
            for stream, event in life(customer_id, number):
                await keep(running, stream, event)
            number += 1

    async with asyncio.TaskGroup() as telling:
        for customer_id in CUSTOMERS[:2]:
            telling.create_task(tell(customer_id))
        try:
            yield
        finally:
            stop.set()


async def fetched(running: RunningService, query: str) -> list[tuple[Any, ...]]:
    async with running.stores[SQL].direct() as sql:
        return sorted(tuple(row) for row in await sql.fetch(query))


async def execute(running: RunningService, statement: str) -> None:
    """By hand, beside the runner: where the two lock each other's rows it is typed again."""

    async def typed() -> bool:
        try:
            async with running.transaction() as tx:
                await tx.sql.execute(statement)
        except ConcurrencyConflict:
            return False
        return True

    await until(typed)


async def up_to_date(running: RunningService) -> bool:
    head = await running.stores[EVENTS].high_water_mark()
    found = await running.stores[CHECKPOINTS].checkpoints("customer-360")
    return bool(found) and all(each.position >= head for each in found)


Model = dict[str, list[Any]]


async def model_of(running: RunningService, customer_id: str) -> Model:
    """What readers see of a customer, in words."""
    found: Model = {}
    for key, *row in await fetched(running, _PROFILE):
        if key == customer_id:
            found[key] = row
    for order_id, of, *rest in await fetched(running, _ORDERS):
        if of == customer_id:
            row = [of, *rest]
            row[4] = json.loads(row[4]) if row[4] else None
            row[5], row[6] = Standing(row[5]).word, Hold(row[6]).name.lower()
            found[order_id] = row
    for order_id, template in await fetched(running, _SENT):
        if order_id.startswith(f"{customer_id}-"):
            found[f"{order_id}/{template}"] = []
    return found


async def fold_of(running: RunningService, customer_id: str) -> Model:
    """The same, folded in plain Python from what is stored."""
    page = await running.stores[EVENTS].read_all(0, limit=100_000)
    stored = sorted(page.events, key=lambda each: (each.stream, each.version))
    found: Model = {}
    for stream, events in groupby(stored, key=lambda each: each.stream):
        category, _, key = stream.partition("-")
        history = [Stored.of(each.event.type, each.event.data, each.event.hlc, each.position) for each in events]
        if category == "customer" and key == customer_id:
            found[key] = fold_profile(history) or []
        elif key.startswith(f"{customer_id}-"):
            row, sent = fold_overview(history)
            found[key] = row or []
            found |= {f"{key}/{template}": [] for template in sent}
    return found


async def test_one_customer_is_made_anew_and_nobody_else_while_more_is_told(overview: RunningService) -> None:
    await fill(overview)
    await until(lambda: up_to_date(overview))
    for statement in EDITED_ELSEWHERE:
        await execute(overview, statement)
    elsewhere = await model_of(overview, "c3")
    assert elsewhere != await fold_of(overview, "c3")
    actions = ProjectionOperations(overview.context)
    async with told_all_the_time(overview):
        for number in range(REBUILDS):
            for statement in DAMAGES[number % 3 :: 3]:
                await execute(overview, statement)
            assert await actions.rebuild_key("customer-360", "customer-c1", **WHO) > 7 * ORDERS_BEFORE
    await until(lambda: up_to_date(overview))
    for customer_id in ("c1", "c2"):
        assert await model_of(overview, customer_id) == await fold_of(overview, customer_id)
    assert await model_of(overview, "c3") == elsewhere


async def test_a_single_order_is_made_anew_without_its_customer(overview: RunningService) -> None:
    await fill(overview)
    await until(lambda: up_to_date(overview))
    for statement in EDITED_ELSEWHERE:
        await execute(overview, statement)
    actions = ProjectionOperations(overview.context)
    assert await actions.rebuild_key("customer-360", "order-c3-1", **WHO) == 7
    found, fold = await model_of(overview, "c3"), await fold_of(overview, "c3")
    assert found["c3-1"] == fold["c3-1"]
    assert found["c3"][0] == "stays"
    assert "c3-2/order-confirmed" not in found
