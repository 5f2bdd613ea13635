"""Customers and carriers of a shop under faults: each repeats its request until it is answered.

So in the end every request has an answer, and everything must exist once. Imports aiohttp and the shop's sample data.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp

from freehold.errors import FreeholdError
from freehold.ids import new_id
from freehold_shop.cli.sample import intake, order, receipt
from freehold_shop.supervisor.plan import Checkout

__all__ = ["Load", "Placed"]

_REQUEST_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = (0.2, 2.0)
_IN_PROGRESS_MAX: Final = 400
_ORDERS_PER_RECEIPT: Final = 300
_DELIVERED: Final = 0.4
_RETURNED: Final = 0.15
_CARRIER_SECONDS: Final = (1.0, 8.0)
_REPEATED: Final = frozenset({0, 408, 409, 425, 429, 500, 502, 503, 504})
"""No answer, or one that asks for a repetition."""


@dataclass(slots=True)
class Placed:
    """What customers and carriers have done. `repeats` are requests that had no answer and were sent again.

    order_ids    of the answers, one for each order.
    refused      answers that ask for no repetition and are no success, with their number.
    asked_again  the answers, or `no answer`, because of which requests were repeated.
    longest      the request that was repeated for the longest time, and the last reason for it.
    """

    order_ids: list[str] = field(default_factory=list)
    returns: int = 0
    repeats: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    asked_again: dict[str, int] = field(default_factory=dict)
    longest_seconds: float = 0.0
    longest: str = ""


class Load:
    """Places so many orders a second in `run`, until it is cancelled; `finish` waits for the answers of all."""

    def __init__(self, url: str, orders_per_second: float, source: random.Random) -> None:
        self.placed = Placed()
        self._url = url
        self._interval_seconds = 1.0 / orders_per_second
        self._source = source
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the session, and fill the shop."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        self._session = aiohttp.ClientSession(self._url, timeout=timeout)
        await self._insist("/intake", intake(f"sample-{new_id()}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give up what is not answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def run(self) -> None:
        """Place orders."""
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            number += 1
            if number % _ORDERS_PER_RECEIPT == 0:
                self._start(self._receive())
            if len(self._tasks) < _IN_PROGRESS_MAX:
                self._start(self._buy())
            due = max(due + self._interval_seconds * self._source.uniform(0.5, 1.5), loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def finish(self, limit_seconds: float) -> None:
        """Wait until every request was answered. Raises `FreeholdError` at the time limit."""
        try:
            async with asyncio.timeout(limit_seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            raise FreeholdError(f"{len(self._tasks)} requests have no answer after {limit_seconds:g} s") from None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self) -> None:
        await self._insist("/stock/receipts", receipt(f"sample-{new_id()}"))

    async def _buy(self) -> None:
        wanted = order(self._source)
        wanted["checkout"] = self._source.choice(list(Checkout))
        answer = await self._insist("/orders", wanted, {"Idempotency-Key": str(new_id())})
        if answer is None:
            return
        order_id = str(answer["order_id"])
        self.placed.order_ids.append(order_id)
        if self._source.random() < _DELIVERED:
            for step in ("dispatch", "delivery"):
                await asyncio.sleep(self._source.uniform(*_CARRIER_SECONDS))
                await self._once(f"/shipments/{order_id}/{step}")
        if self._source.random() < _RETURNED:
            lines = [{"sku": wanted["lines"][0]["sku"], "quantity": 1}]
            body = {"return_ref": f"r-{new_id()}", "customer_id": wanted["customer_id"], "lines": lines}
            self.placed.returns += await self._insist("/returns", body) is not None

    async def _once(self, path: str) -> None:
        """A carrier's report is not repeated: the order may have been cancelled."""
        await self._post(path)

    async def _insist(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Send the same until it is answered; None for a refusal."""
        began, words = time.monotonic(), ""
        while True:
            status, document = await self._post(path, body, headers)
            if 200 <= status < 300 or status not in _REPEATED:
                self._note_duration(time.monotonic() - began, words)
            if 200 <= status < 300:
                return document
            words = f"{path} {status or 'no answer'} {document.get('code') or document.get('title') or ''}".strip()
            if status not in _REPEATED:
                self.placed.refused[words] = self.placed.refused.get(words, 0) + 1
                return None
            self.placed.repeats += 1
            self.placed.asked_again[words] = self.placed.asked_again.get(words, 0) + 1
            await asyncio.sleep(self._source.uniform(*_RETRY_SECONDS))

    def _note_duration(self, seconds: float, words: str) -> None:
        if seconds > self.placed.longest_seconds:
            self.placed.longest_seconds, self.placed.longest = seconds, words

    async def _post(
        self, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with self._session.post(path, json=body, headers=headers) as response:
                document = await response.json(content_type=None)
                return response.status, document if isinstance(document, dict) else {}
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
            return 0, {}
