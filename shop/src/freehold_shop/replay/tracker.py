"""Finds out when orders and returns end: queries all open orders at once, a few times a second.

Imports the gateway and the patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from freehold import Clock
from freehold_shop.replay.gateway import Gateway, OrderState, ReturnState
from freehold_shop.replay.patience import Patience

__all__ = ["POLL_SECONDS", "Tracker"]

POLL_SECONDS = 0.2
_IN_FLIGHT = frozenset({"placed", "stock-reserved", "payment-held"})
S = TypeVar("S")


class Tracker:
    """Waits for the ends of orders and returns, for any number of tasks. `run` queries them and never returns."""

    def __init__(self, gateway: Gateway, patience: Patience, clock: Clock) -> None:
        self._gateway = gateway
        self._patience = patience
        self._clock = clock
        self._orders: dict[str, asyncio.Future[OrderState]] = {}
        self._returns: dict[str, asyncio.Future[ReturnState]] = {}

    async def order_end(self, order_id: str) -> OrderState:
        """Return when the order is confirmed or cancelled."""
        ended: asyncio.Future[OrderState] = asyncio.get_running_loop().create_future()
        self._orders[order_id] = ended
        return await ended

    async def return_end(self, reference: str) -> ReturnState:
        """Return when everything is refunded and restocked."""
        ended: asyncio.Future[ReturnState] = asyncio.get_running_loop().create_future()
        self._returns[reference] = ended
        return await ended

    async def run(self) -> None:
        """Query until cancelled. Raises `OutOfPatience`, `ShopRefused`."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            if not self._orders and not self._returns:
                continue
            self._patience.check()
            if self._orders:
                self._note_orders(await self._gateway.order_states(list(self._orders)))
            await self._ask_returns(self._gateway.return_state, list(self._returns))

    def _note_orders(self, states: Sequence[OrderState]) -> None:
        for state in states:
            if state.status not in _IN_FLIGHT:
                _end(self._orders, state.order_id, state)
                self._patience.progress()

    async def _ask_returns(self, ask: Callable[[str], Awaitable[ReturnState]], references: Sequence[str]) -> None:
        """Query the returns one after the other: there are few, and none is urgent."""
        for reference in references:
            state = await ask(reference)
            if state.ended:
                _end(self._returns, reference, state)
                self._patience.progress()


def _end(waiting: dict[str, asyncio.Future[S]], key: str, state: S) -> None:
    ended = waiting.pop(key, None)
    if ended is not None and not ended.done():
        ended.set_result(state)
