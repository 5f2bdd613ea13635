"""Trips: a saga of commands that run in parallel, with time limits, late replies, an optional step and a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.simulated.clients import PATIENT, RARE_POLLS, no_dead_letters, persistent, rows, saga_status

from freehold import Rejected, Saga, Service, Transaction, command
from freehold.ids import derive_id
from freehold.policy import Retry
from freehold.saga import SAGAS, SagaStatus, local, step
from freehold.testing import Scenario, World

__all__ = ["Trips"]

_TRIPS: Final = 9
_LIMIT_SECONDS: Final = 1.5
_TWICE: Final = Retry(attempts=2, delay_seconds=0.2)


@command("agents.book-hotel", key="trip")
class BookHotel:
    """Book a room; some hotels are full, and some answer late."""

    trip: str
    slow: bool = False
    full: bool = False


@command("agents.cancel-hotel", key="trip")
class CancelHotel:
    """Give the room back."""

    trip: str


@command("agents.book-flight", key="trip")
class BookFlight:
    """Book a seat."""

    trip: str


@command("agents.cancel-flight", key="desk")
class CancelFlight:
    """Give the seat back. It has another key than its action, and may overtake it."""

    trip: str
    desk: str


@command("agents.insure", key="trip")
class Insure:
    """Insure the trip, where that is possible."""

    trip: str


@dataclass(frozen=True, slots=True)
class Room:
    """What was booked in a hotel."""

    room: str


@dataclass(frozen=True, slots=True)
class Seat:
    """What was booked in a plane."""

    seat: str


@dataclass(frozen=True, slots=True)
class Trip:
    """The state of a trip."""

    trip: str
    slow: bool
    full: bool
    desk: str
    room: str = ""
    seat: str = ""


class Trips(Scenario):
    """A trip has a room, a seat and a ticket, or nothing. What was booked in parallel is in the state of both."""

    seconds = 30.0
    settings: Mapping[str, Any] = RARE_POLLS

    def services(self) -> Sequence[Service]:
        async def ticket(state: Trip, tx: Transaction) -> None:
            tx.connection["ticket", state.trip] = (state.room, state.seat)

        async def compensated(state: Trip, tx: Transaction) -> None:
            tx.connection["ended", state.trip] = tx.connection.get(("ended", state.trip), 0) + 1

        class Travel(Saga[Trip], name="trips.travel", version=1, key="trip", deadline_seconds=60.0):
            hotel = step(BookHotel, compensation=CancelHotel, timeout_seconds=_LIMIT_SECONDS, retry=_TWICE, reply=Room)
            flight = step(
                BookFlight, compensation=CancelFlight, timeout_seconds=_LIMIT_SECONDS, retry=_TWICE, reply=Seat
            )
            confirm = local(ticket, after=(hotel, flight), pivot=True)
            insure = step(Insure, optional=True, no_compensation=True, after=confirm, timeout_seconds=_LIMIT_SECONDS)
            on_compensated = compensated

        trips, agents = Service("trips", retry=PATIENT), Service("agents", retry=PATIENT)
        trips.orchestrates(Travel)
        self.travel = Travel
        _agents(agents)
        return [trips, agents]

    async def work(self, world: World) -> None:
        for number in range(_TRIPS):
            slow, full = world.draw.random() < 0.2, world.draw.random() < 0.2
            trip = Trip(f"trip-{number}", slow, full, desk=f"desk-{number}")

            async def start(tx: Transaction, trip: Trip = trip) -> None:
                if ("begun", trip.trip) not in tx.connection:
                    tx.connection["begun", trip.trip] = 1
                    await self.travel.start(tx, trip, saga_id=derive_id("trip", trip.trip))

            await persistent(world, "trips", start)
            await world.sleep(world.draw.uniform(0.0, 3.0))

    async def check(self, world: World) -> None:
        await no_dead_letters(world, "trips", "agents")
        own, booked = await rows(world, "trips"), await rows(world, "agents")
        for number in range(_TRIPS):
            trip = f"trip-{number}"
            status = await saga_status(world, "trips", derive_id("trip", trip))
            held = [booked.get((what, trip), 0) for what in ("hotel", "flight")]
            assert not booked.get(("undone before it was done", trip)), f"{trip} was undone before it was done"
            ticket, ended = own.get(("ticket", trip)), own.get(("ended", trip), 0)
            world.sometimes(f"a trip is {status.value}")
            world.sometimes("a reply came late", await _journal_has(world, trip, "late"))
            world.sometimes("a compensation cancelled its action", await _journal_has(world, trip, "no-effect"))
            world.sometimes(
                "an action came after its compensation", await _journal_has(world, trip, "action cancelled")
            )
            world.sometimes(
                "a trip is not insured", status is SagaStatus.COMPLETED and not booked.get(("insured", trip))
            )
            if status is SagaStatus.COMPLETED:
                assert held == [1, 1], f"{trip} is completed and has {held}"
                assert ticket == (f"room of {trip}", f"seat of {trip}"), f"{trip} has the ticket {ticket}"
                assert not ended, f"{trip} is completed, and its end was recorded as compensated"
            else:
                assert status is SagaStatus.COMPENSATED, f"{trip} is {status.value}"
                assert held == [0, 0], f"{trip} is compensated and has {held}"
                assert ticket is None, f"{trip} is compensated and has a ticket"
                assert ended == 1, f"the end of {trip} was recorded {ended} times"


def _agents(agents: Service) -> None:
    @agents.handles(BookHotel)
    async def book_hotel(message: BookHotel, tx: Transaction) -> object:
        if message.slow:
            await asyncio.sleep(_LIMIT_SECONDS * 1.4)
        if message.full:
            return Rejected("full")
        _count(tx, "hotel", message.trip, 1)
        return Room(f"room of {message.trip}")

    @agents.handles(CancelHotel)
    async def cancel_hotel(message: CancelHotel, tx: Transaction) -> None:
        _undo(tx, "hotel", message.trip)

    @agents.handles(BookFlight)
    async def book_flight(message: BookFlight, tx: Transaction) -> Seat:
        _count(tx, "flight", message.trip, 1)
        return Seat(f"seat of {message.trip}")

    @agents.handles(CancelFlight)
    async def cancel_flight(message: CancelFlight, tx: Transaction) -> None:
        _undo(tx, "flight", message.trip)

    @agents.handles(Insure)
    async def insure(message: Insure, tx: Transaction) -> object:
        if message.trip.endswith("3"):
            return Rejected("no-cover")
        _count(tx, "insured", message.trip, 1)
        return None


def _count(tx: Transaction, what: str, trip: str, number: int) -> None:
    tx.connection[what, trip] = tx.connection.get((what, trip), 0) + number


def _undo(tx: Transaction, what: str, trip: str) -> None:
    if not tx.connection.get((what, trip)):
        _count(tx, "undone before it was done", trip, 1)
    _count(tx, what, trip, -1)


async def _journal_has(world: World, trip: str, word: str) -> bool:
    entries = await world.running("trips").stores[SAGAS].journal(derive_id("trip", trip))
    return any(word in (entry.what, entry.detail) for entry in entries)
