"""The explorer of choreographies: a process of three services with a deadline, right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from freehold import Migration, Service, Transaction, command, event
from freehold.testing import Choreography, ChoreographyViolation, Stage, explore_choreography


@event("explored-orders.placed", key="order_id")
class Placed:
    order_id: str


@event("explored-orders.cancelled", key="order_id")
class Cancelled:
    order_id: str


@event("explored-stock.reserved", key="order_id")
class Reserved:
    order_id: str


@event("explored-payments.paid", key="order_id")
class Paid:
    order_id: str


@event("explored-payments.declined", key="order_id")
class Declined:
    order_id: str


@command("explored-orders.give-up", key="order_id")
class GiveUp:
    order_id: str


class Process(Choreography):
    """An order is confirmed if it is paid, else cancelled; after an hour it is cancelled in any case."""

    def services(self) -> Sequence[Service]:
        orders, stock, payments = (Service(f"explored-{name}") for name in ("orders", "stock", "payments"))

        @orders.handles(Paid)
        async def confirm(paid: Paid, tx: Transaction) -> None:
            await self.confirm(tx)

        @orders.handles(Declined)
        async def cancel(declined: Declined, tx: Transaction) -> None:
            self.cancel(tx)

        @orders.handles(GiveUp)
        async def give_up(due: GiveUp, tx: Transaction) -> None:
            self.cancel(tx)

        @stock.handles(Placed)
        async def reserve(placed: Placed, tx: Transaction) -> None:
            self.reserve(tx)

        @stock.handles(Cancelled)
        async def release(cancelled: Cancelled, tx: Transaction) -> None:
            self.release(tx)

        @payments.handles(Reserved)
        async def charge(reserved: Reserved, tx: Transaction) -> None:
            if "refunded" in tx.connection:
                return
            if self.stage.choose("card", "accepted", "declined") == "accepted":
                tx.connection["charged"] = True
                tx.publish(Paid("A"))
            else:
                tx.publish(Declined("A"))

        @payments.handles(Cancelled)
        async def refund(cancelled: Cancelled, tx: Transaction) -> None:
            self.refund(tx)

        return [orders, stock, payments]

    async def begin(self, stage: Stage) -> None:
        self.stage = stage
        async with stage.transaction("explored-orders") as tx:
            tx.connection["status"] = "placed"
            tx.publish(Placed("A"))
            tx.schedule(GiveUp("A"), delay_seconds=3600)

    async def confirm(self, tx: Transaction) -> None:
        if tx.connection["status"] == "placed":
            tx.connection["status"] = "confirmed"

    def cancel(self, tx: Transaction) -> None:
        if tx.connection["status"] == "placed":
            tx.connection["status"] = "cancelled"
            tx.publish(Cancelled("A"))

    def reserve(self, tx: Transaction) -> None:
        if "released" not in tx.connection:
            tx.connection["reserved"] = True
            tx.publish(Reserved("A"))

    def release(self, tx: Transaction) -> None:
        tx.connection["released"] = True

    def refund(self, tx: Transaction) -> None:
        tx.connection["refunded"] = True

    async def check(self, stage: Stage) -> str:
        found = {}
        for name in ("orders", "stock", "payments"):
            async with stage.transaction(f"explored-{name}") as tx:
                found[name] = dict(tx.connection)
        status = found["orders"]["status"]
        assert status in {"confirmed", "cancelled"}, f"the order is {status}"
        held = "reserved" in found["stock"] and "released" not in found["stock"]
        paid = "charged" in found["payments"] and "refunded" not in found["payments"]
        assert held == paid == (status == "confirmed"), f"{status}, held: {held}, paid: {paid}"
        return str(status)


def test_a_sound_process_ends_as_declared() -> None:
    report = explore_choreography(Process, faults_max=2)
    assert report.ends.keys() == {"confirmed", "cancelled"}
    assert report.runs > 200
    assert report.left_out == ["combinations of more than 2 faults"]


class ForgetsTheCancellation(Process):
    """Payments that get the cancellation first charge afterwards."""

    def refund(self, tx: Transaction) -> None:
        if "charged" in tx.connection:
            tx.connection["refunded"] = True


def test_an_action_after_its_compensation_is_found_and_told() -> None:
    with pytest.raises(ChoreographyViolation) as caught:
        explore_choreography(ForgetsTheCancellation)
    story = str(caught.value).splitlines()
    assert story[0] == "ForgetsTheCancellation: cancelled, held: False, paid: True"
    assert len(caught.value.faults) == 1
    assert "  explored-orders    a deadline is due: explored-orders.give-up" in story
    assert story[-1] == f"again: explore_choreography(ForgetsTheCancellation, only={caught.value.faults!r})"
    with pytest.raises(ChoreographyViolation) as repeated:
        explore_choreography(ForgetsTheCancellation, only=caught.value.faults)
    assert str(repeated.value) == str(caught.value)


class ConfirmsAlways(Process):
    async def confirm(self, tx: Transaction) -> None:
        tx.connection["status"] = "confirmed"


def test_a_confirmation_after_the_deadline_is_found() -> None:
    with pytest.raises(ChoreographyViolation, match="confirmed, held: False"):
        explore_choreography(ConfirmsAlways)


class Broken(Process):
    async def confirm(self, tx: Transaction) -> None:
        raise KeyError("a typing error")


def test_a_handler_that_always_fails_is_found() -> None:
    with pytest.raises(ChoreographyViolation, match="would become a dead letter") as caught:
        explore_choreography(Broken)
    assert caught.value.faults == {}
    assert "raises KeyError" in str(caught.value)


class Waiting(Process):
    """Its confirmation fails until the deadline has passed: as an outage that ends by itself."""

    async def confirm(self, tx: Transaction) -> None:
        if self.stage.clock.monotonic() < 3600:
            raise ConnectionError("away")
        await super().confirm(tx)


def test_a_handler_that_fails_for_a_while_is_tried_again() -> None:
    report = explore_choreography(Waiting, faults_max=0)
    assert report.ends.keys() == {"cancelled"}


def test_an_unknown_combination_is_refused() -> None:
    with pytest.raises(ValueError, match="has no choice"):
        explore_choreography(Process, only={"card of somebody": "declined"})


class Counting(Choreography):
    """A service that speaks SQL, prepared once."""

    def services(self) -> Sequence[Service]:
        table = {"": ["CREATE TABLE counted (name TEXT NOT NULL)"]}
        counts = Service("explored-counts", migrations=[Migration("001", table)])

        @counts.handles(Placed)
        async def count(placed: Placed, tx: Transaction) -> None:
            await tx.connection.execute(text("INSERT INTO counted VALUES (:name)"), {"name": placed.order_id})

        return [counts, Service("explored-orders")]

    async def prepare(self, stage: Stage) -> None:
        await self._place(stage, "prepared")

    async def begin(self, stage: Stage) -> None:
        await self._place(stage, "A")

    async def _place(self, stage: Stage, order_id: str) -> None:
        async with stage.transaction("explored-orders") as tx:
            tx.publish(Placed(order_id))

    async def check(self, stage: Stage) -> None:
        async with stage.transaction("explored-counts") as tx:
            rows = [row[0] for row in await tx.connection.execute(text("SELECT name FROM counted"))]
        assert rows == ["prepared", "A"]


def test_services_that_speak_sql_run_on_files(tmp_path: Path) -> None:
    assert explore_choreography(Counting, directory=tmp_path).runs > 3
