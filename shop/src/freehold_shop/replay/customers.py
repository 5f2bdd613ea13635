"""The order of things for one customer: a return comes after what the file has before it, and before what follows.

A return must find what was bought earlier in the file, all of it and nothing else, however many orders are in progress
at once. Only customers with something open are remembered. Imports the standard library only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["Customers", "Turn"]


@dataclass(slots=True)
class _Open:
    """What is open for a customer. `barrier` is the last return, until it is matched."""

    entries: set[asyncio.Event] = field(default_factory=set)
    barrier: asyncio.Event | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One order's or return's place among its customer's. `wait` before it is sent, `matched` once a return is
    answered, `done` at its end, whatever that is.
    """

    _waits_for: tuple[asyncio.Event, ...]
    _matched: Callable[[], None]
    _done: Callable[[], None]

    async def wait(self) -> None:
        """Return when it may be sent."""
        for event in self._waits_for:
            await event.wait()

    def matched(self) -> None:
        """What the file has behind this return may be sent now."""
        self._matched()

    def done(self) -> None:
        """It has ended."""
        self._done()


class Customers:
    """Call `sale` and `return_` in the order of the file."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        """How many customers have something open."""
        return len(self._open)

    def sale(self, customer: str) -> Turn:
        """An order waits for a return before it to be matched, and for nothing else."""
        standing = self._open.setdefault(customer, _Open())
        barrier = () if standing.barrier is None else (standing.barrier,)
        return self._turn(customer, standing, barrier, asyncio.Event())

    def return_(self, customer: str) -> Turn:
        """A return waits for all that is open before it to end."""
        standing = self._open.setdefault(customer, _Open())
        barrier = asyncio.Event()
        turn = self._turn(customer, standing, tuple(standing.entries), barrier)
        standing.barrier = barrier
        return turn

    def _turn(self, customer: str, standing: _Open, waits_for: Iterable[asyncio.Event], matched: asyncio.Event) -> Turn:
        entry = asyncio.Event()
        standing.entries.add(entry)

        def done() -> None:
            matched.set()
            entry.set()
            standing.entries.discard(entry)
            if standing.barrier is matched:
                standing.barrier = None
            if not standing.entries:
                self._open.pop(customer, None)

        return Turn(tuple(waits_for), matched.set, done)
