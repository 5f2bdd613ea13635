"""The sequence of one customer's orders and returns: a return is sent between what the file has before and after it.

A return must find all orders that are earlier in the file and none that is later, however many orders are in progress
at once. Only customers with something in progress are remembered. Imports the standard library only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["Customers", "Turn"]


@dataclass(slots=True)
class _Open:
    """The orders and returns of a customer in progress. `barrier` is the last return, until it is matched."""

    entries: set[asyncio.Event] = field(default_factory=set)
    barrier: asyncio.Event | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of an order or return in its customer's sequence.

    The caller calls `wait` before it sends, `matched` once a return is answered, and `done` at the end in any case.
    """

    _waits_for: tuple[asyncio.Event, ...]
    _matched: Callable[[], None]
    _done: Callable[[], None]

    async def wait(self) -> None:
        """Return when it may be sent."""
        for event in self._waits_for:
            await event.wait()

    def matched(self) -> None:
        """Release what the file has after this return."""
        self._matched()

    def done(self) -> None:
        """Release everything that waits for its end."""
        self._done()


class Customers:
    """The sequences of all customers. Call `sale` and `return_` in the order of the file."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        """How many customers have something in progress."""
        return len(self._open)

    def sale(self, customer: str) -> Turn:
        """The turn of an order, which waits until the last return before it is matched."""
        known = self._open.setdefault(customer, _Open())
        barrier = () if known.barrier is None else (known.barrier,)
        return self._turn(customer, known, barrier, asyncio.Event())

    def return_(self, customer: str) -> Turn:
        """The turn of a return, which waits until everything before it has ended."""
        known = self._open.setdefault(customer, _Open())
        barrier = asyncio.Event()
        turn = self._turn(customer, known, tuple(known.entries), barrier)
        known.barrier = barrier
        return turn

    def _turn(self, customer: str, known: _Open, waits_for: Iterable[asyncio.Event], matched: asyncio.Event) -> Turn:
        entry = asyncio.Event()
        known.entries.add(entry)

        def done() -> None:
            matched.set()
            entry.set()
            known.entries.discard(entry)
            if known.barrier is matched:
                known.barrier = None
            if not known.entries:
                self._open.pop(customer, None)

        return Turn(tuple(waits_for), matched.set, done)
