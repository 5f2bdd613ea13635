"""Places orders in a running shop through its gateway, as a customer does, and has some of them delivered.

Imports aiohttp and the sample data.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from freehold import new_id
from freehold_shop.cli.sample import intake, order, receipt

__all__ = ["OrderStream", "StreamCounts"]

_REQUEST_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_UNDER_WAY_MAX = 200
_ORDERS_PER_RECEIPT = 1_000
_CARRIED = 0.3
_CARRIER_SECONDS = 5.0


@dataclass(slots=True)
class StreamCounts:
    """The results of the requests. `failed` ones had no answer, or one that was no success."""

    placed: int = 0
    failed: int = 0


class OrderStream:
    """Places so many orders per second until cancelled, also while the shop does not answer.

    Each order uses one of `checkouts`, drawn at random; without any, the shop's setting decides.
    """

    def __init__(
        self,
        gateway_url: str,
        orders_per_second: float,
        *,
        source: random.Random | None = None,
        counts: StreamCounts | None = None,
        checkouts: Sequence[str] = (),
    ) -> None:
        self.counts = counts or StreamCounts()
        self._checkouts = checkouts
        self._url = gateway_url
        self._interval_seconds = 1.0 / orders_per_second
        self._source = source or random.Random()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Fill the shop with sample goods, then place orders. When cancelled, cancels requests in progress."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        async with aiohttp.ClientSession(self._url, timeout=timeout) as session:
            await self._insist(session, "/intake", intake(f"sample-{new_id()}"))
            try:
                await self._place_all(session)
            finally:
                for task in self._under_way:
                    task.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _place_all(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        number = 0
        while True:
            number += 1
            if number % _ORDERS_PER_RECEIPT == 0:
                self._begin(self._insist(session, "/stock/receipts", receipt(f"sample-{new_id()}")))
            if len(self._under_way) < _UNDER_WAY_MAX:
                self._begin(self._place(session))
            # Due times rather than pauses, so that slow answers do not lower the rate.
            due = max(due + self._interval_seconds * self._source.uniform(0.5, 1.5), loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _place(self, session: aiohttp.ClientSession) -> None:
        headers = {"Idempotency-Key": str(new_id())}
        wanted = order(self._source)
        if self._checkouts:
            wanted["checkout"] = self._source.choice(self._checkouts)
        answer = await self._post(session, "/orders", wanted, headers)
        if answer is None:
            self.counts.failed += 1
            return
        self.counts.placed += 1
        if self._source.random() < _CARRIED:
            self._begin(self._carry(session, str(answer["order_id"])))

    async def _carry(self, session: aiohttp.ClientSession, order_id: str) -> None:
        """Act as the carrier: report dispatch, then delivery. A report that is not accepted is not repeated."""
        for step in ("dispatch", "delivery"):
            await asyncio.sleep(_CARRIER_SECONDS * self._source.uniform(0.5, 1.5))
            await self._post(session, f"/shipments/{order_id}/{step}")

    async def _insist(self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
        """Send until it is accepted; the shop is idempotent by the reference in the body."""
        while True:
            if await self._post(session, path, body) is not None:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _post(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | None:
        """The answer, or None where the request was not accepted."""
        try:
            async with session.post(path, json=body, headers=headers) as response:
                document: dict[str, Any] = await response.json(content_type=None)
                return document if response.status < 300 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
