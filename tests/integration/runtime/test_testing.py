"""`freehold.testing` as an adopter uses it: public names only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from freehold import (
    Projection,
    ProjectionContext,
    Retry,
    Runtime,
    Saga,
    Service,
    Settings,
    Transaction,
    command,
    event,
    step,
)
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.testing import ManualClock, NotSettled, recorded, settled, unsettled

_DRAIN_SECONDS = 120.0


@command("bakery.bake", key="order")
class Bake:
    order: str


@command("bakery.bin", key="order")
class Bin:
    order: str


@event("bakery.baked", key="order")
class Baked:
    order: str


@event("shop.reminded", key="order")
class Reminded:
    order: str


@dataclass(frozen=True, slots=True)
class OrderState:
    order: str


class Ordering(Saga[OrderState], name="shop.ordering", version=1, key="order"):
    bake = step(Bake, compensation=Bin, timeout_seconds=3600)


class Trouble:
    """How often baking fails before it goes well."""

    def __init__(self) -> None:
        self.failures = 0


def _services(trouble: Trouble, sold: list[str]) -> tuple[Service, Service]:
    shop, bakery = Service("shop"), Service("bakery")
    shop.orchestrates(Ordering)

    @bakery.handles(Bake, retry=Retry(attempts=5, delay_seconds=60.0, delay_seconds_max=60.0))
    async def bake(request: Bake, tx: Transaction) -> None:
        if trouble.failures:
            trouble.failures -= 1
            raise ValueError("the oven is cold")
        tx.publish(Baked(request.order))

    @shop.handles(Baked)
    async def baked(happened: Baked, tx: Transaction) -> None:
        sold.append(happened.order)

    return shop, bakery


@asynccontextmanager
async def _running(
    *services: Service, clock: ManualClock | None = None, database: str = "memory://", broker: str = ""
) -> AsyncIterator[Runtime]:
    broker = broker or f"memory://{uuid4().hex}"
    settings = {
        each.name: Settings.load(
            each.name, environ={}, database=database.format(each.name), broker=broker, drain_seconds=_DRAIN_SECONDS
        )
        for each in services
    }
    async with Runtime(*services, settings=settings, clock=clock) as runtime:
        yield runtime


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_chain_over_services_is_waited_for_and_seen(engine: str, tmp_path: Path) -> None:
    sold: list[str] = []
    database = "memory://" if engine == "memory" else f"sqlite:///{tmp_path}/{{}}.db"
    async with _running(*_services(Trouble(), sold), database=database) as runtime:
        with recorded(runtime) as sent:
            for number in range(20):
                async with runtime["shop"].transaction() as tx:
                    tx.send(Bake(f"A-{number}"))
            await settled(runtime, timeout_seconds=60)
        wanted = [f"A-{number}" for number in range(20)]
        assert sorted(sold) == sorted(wanted)
        assert sorted(each.order for each in sent.messages(Bake)) == sorted(wanted)
        assert sorted(each.order for each in sent.messages(Baked)) == sorted(wanted)
        assert {each.source for each in sent.envelopes} == {"shop", "bakery"}
        sent.clear()
        assert sent.envelopes == []


async def test_what_is_taken_back_was_not_sent() -> None:
    async with _running(*_services(Trouble(), [])) as runtime:
        with recorded(runtime["shop"]) as sent:
            with pytest.raises(RuntimeError):
                async with runtime["shop"].transaction() as tx:
                    tx.send(Bake("A-1"))
                    raise RuntimeError
            await settled(runtime, timeout_seconds=60)
        assert sent.envelopes == []
        async with runtime["shop"].transaction() as tx:
            tx.send(Bake("A-2"))
        await settled(runtime, timeout_seconds=60)
        assert sent.envelopes == [], "nobody records any more"


async def test_what_does_not_settle_is_named() -> None:
    trouble = Trouble()
    trouble.failures = 1
    async with _running(*_services(trouble, [])) as runtime:
        async with runtime["shop"].transaction() as tx:
            await Ordering.start(tx, OrderState("A-1"))
        async with asyncio.timeout(60):
            while not any("(ValueError" in each for each in await unsettled(runtime)):  # noqa: ASYNC110 - from outside
                await asyncio.sleep(0.02)
        with pytest.raises(NotSettled) as caught:
            await settled(runtime, timeout_seconds=0.5)
    text = caught.value.message
    assert "shop: 1 sagas shop.ordering running" in text
    assert "bakery: 1 deferred messages (ValueError, next attempt in " in text


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_consumer_that_has_not_joined_yet_is_waited_for(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group has no lag yet, whatever waits for it."""
    sold, there, join = list[str](), asyncio.Event(), ConsumerRunner.run

    async def late(self: ConsumerRunner) -> None:
        await there.wait()
        await join(self)

    monkeypatch.setattr(ConsumerRunner, "run", late)
    database, broker = "memory://", f"memory://{uuid4().hex}"
    if engine == "sqlite":
        database, broker = f"sqlite:///{tmp_path}/{{}}.db", f"embedded:///{tmp_path}/broker.db"
    async with _running(*_services(Trouble(), sold), database=database, broker=broker) as runtime:
        async with runtime["shop"].transaction() as tx:
            tx.send(Bake("A-1"))
        with pytest.raises(NotSettled, match="bakery: the consumer has not joined bakery"):
            await settled(runtime, timeout_seconds=0.5)
        there.set()
        await settled(runtime, timeout_seconds=60)
    assert sold == ["A-1"]


async def test_time_passes_as_long_as_something_waits_for_it() -> None:
    trouble, clock, sold = Trouble(), ManualClock(), list[str]()
    trouble.failures = 2
    began = clock.now()
    async with _running(*_services(trouble, sold), clock=clock) as runtime:
        async with runtime["shop"].transaction() as tx:
            await Ordering.start(tx, OrderState("A-1"))
        await settled(runtime, timeout_seconds=120, clock=clock)
        assert await unsettled(runtime) == []
    assert sold == ["A-1"]
    assert clock.now() - began >= timedelta(seconds=30)


async def test_what_is_scheduled_is_seen_and_no_work_until_it_is_due() -> None:
    clock = ManualClock()
    async with _running(*_services(Trouble(), []), clock=clock) as runtime:
        with recorded(runtime) as sent:
            async with runtime["shop"].transaction() as tx:
                tx.schedule(Reminded("A-2"), delay_seconds=7200)
                tx.schedule(Reminded("A-1"), delay_seconds=3600)
            await settled(runtime, clock=clock, timeout_seconds=60)
            assert await sent.scheduled(Reminded) == [Reminded("A-1"), Reminded("A-2")]
            assert sent.messages(Reminded) == []
            clock.advance(3600)
            await settled(runtime, clock=clock, timeout_seconds=60)
            assert sent.messages(Reminded) == [Reminded("A-1")]
            assert await sent.scheduled(Reminded) == [Reminded("A-2")]
            async with asyncio.timeout(_DRAIN_SECONDS / 2):  # no loop waits for a clock that stands still
                await runtime["shop"].stop()


async def test_a_service_that_cannot_be_asked_is_named() -> None:
    async with _running(*_services(Trouble(), [])) as runtime:
        await runtime["bakery"].stop()
        with pytest.raises(NotSettled, match="bakery: cannot be read"):
            await settled(runtime, timeout_seconds=0.5)


async def test_a_read_model_is_waited_for(tmp_path: Path) -> None:
    sales = sa.Table("sales", sa.MetaData(), sa.Column("order_id", sa.Text, primary_key=True))
    projection, service = Projection("sales", version=1, tables=(sales,), categories={"order"}), Service("bakery")

    @projection.on(Baked)
    async def baked(happened: Baked, write: ProjectionContext) -> None:
        await write.connection.execute(write.table(sales).insert().values(order_id=happened.order))

    service.projects(projection)
    async with _running(service, database=f"sqlite:///{tmp_path}/{{}}.db") as runtime:
        for number in range(30):
            async with runtime["bakery"].transaction() as tx:
                tx.append(f"order-{number}", Baked(str(number)))
        await settled(runtime, timeout_seconds=60)
        async with runtime["bakery"].transaction() as tx:
            rows = (await tx.connection.execute(sa.select(sales))).all()
        assert len(rows) == 30
        await runtime["bakery"].pause("projections")
        async with runtime["bakery"].transaction() as tx:
            tx.append("order-30", Baked("30"))
        assert await unsettled(runtime) == ["bakery: projection sales is 1 events behind"]
