"""The replay itself: from the files into the shop, until everything that was placed has ended.

There are limits on the orders read ahead, on those sent at once (`SENDING_MAX`), and on those in progress in the shop
(`UNFINISHED_MAX`): more of them would not be faster, each would only take longer. Imports this package.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from freehold import Clock
from freehold_shop.replay.customers import Customers, Turn
from freehold_shop.replay.feed import Order, OrderFeed, SharedRejects
from freehold_shop.replay.gateway import Gateway, Part, Refused
from freehold_shop.replay.intake import Intake, order_lines
from freehold_shop.replay.patience import OutOfPatience, Patience
from freehold_shop.replay.rate import Pace
from freehold_shop.replay.summary import Tally
from freehold_shop.replay.tracker import Tracker
from freehold_shop.retail import RetailInputError, ReturnOrder, Sale, SaleLine
from freehold_shop.retail.countries import DATA_CURRENCY

__all__ = ["SENDING_MAX", "UNFINISHED_MAX", "Replay", "unmatched_lines"]

SENDING_MAX = 64
UNFINISHED_MAX = 192
RETURN_WITHOUT_SALE = "return-without-sale"
_CANCELLED = "cancelled"


@dataclass(slots=True)
class Replay:
    """One run. `checkout` is the kind of the orders' checkout; None leaves it to the shop.

    After `run`: `tally`, and the error that ended it early, if any: a file that could not be read to its end
    (`input_error`; the orders before it were placed and have ended), or a shop that made no progress
    (`out_of_patience`; orders are in flight).
    """

    gateway: Gateway
    feed: OrderFeed
    rejects: SharedRejects
    pace: Pace
    patience: Patience
    clock: Clock
    checkout: str | None = None
    on_progress: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    input_error: RetailInputError | None = None
    out_of_patience: OutOfPatience | None = None
    duration_seconds: float = 0.0
    _sending: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SENDING_MAX))
    _unfinished: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNFINISHED_MAX))
    _customers: Customers = field(default_factory=Customers)

    async def run(self) -> None:
        """Place everything and wait for all of it to end. Raises `ShopRefused`."""
        began = self.clock.monotonic()
        tracker = Tracker(self.gateway, self.patience, self.clock)
        try:
            async with asyncio.TaskGroup() as group:
                tracking = group.create_task(tracker.run())
                try:
                    await self._place_all(tracker)
                finally:
                    tracking.cancel()
        except BaseExceptionGroup as group:
            error = _first(group)
            if not isinstance(error, OutOfPatience):
                raise error from group
            self.out_of_patience = error
        finally:
            self.duration_seconds = self.clock.monotonic() - began

    async def _place_all(self, tracker: Tracker) -> None:
        intake = Intake()
        async with asyncio.TaskGroup() as group:
            try:
                async for chunk in self.feed.chunks():
                    needed = intake.of(chunk)
                    if needed:
                        await self.gateway.take_in(needed)
                    for order in chunk:
                        await self._unfinished.acquire()
                        await self._begin(order, tracker, group)
            except RetailInputError as error:
                self.input_error = error

    async def _begin(self, order: Order, tracker: Tracker, group: asyncio.TaskGroup) -> None:
        """Take the order's turn in its customer's sequence, in the order of the file, and start a task for the rest."""
        self.patience.progress()
        if isinstance(order, Sale):
            await self.pace.turn()
            turn = self._customers.sale(order.customer_ref)
        else:
            turn = self._customers.return_(order.customer_ref)
        group.create_task(self._carry(order, turn, tracker))

    async def _carry(self, order: Order, turn: Turn, tracker: Tracker) -> None:
        try:
            await turn.wait()
            if isinstance(order, Sale):
                await self._sell(order, tracker)
            else:
                await self._return(order, turn, tracker)
        finally:
            turn.done()
            self._unfinished.release()
            self.on_progress()

    async def _sell(self, sale: Sale, tracker: Tracker) -> None:
        document = {
            "order_id": sale.order_ref,
            "customer_id": sale.customer_ref,
            "currency": DATA_CURRENCY,
            "placed_at": sale.placed_at,
            "lines": order_lines(sale.lines),
        } | ({} if self.checkout is None else {"checkout": self.checkout})
        async with self._sending:
            submitted_at = self.clock.now().timestamp()
            refused = await self.gateway.place(sale.order_ref, document)
        if refused is not None:
            self.rejects.reject(sale.lines, refused.reason)
            return
        self.tally.orders_placed += 1
        self.on_progress()
        state = await tracker.order_end(sale.order_ref)
        ended_at = self.clock.now().timestamp() if state.ended_at_ms is None else state.ended_at_ms / 1000
        self.tally.latencies.add(ended_at - submitted_at)
        if state.status == _CANCELLED:
            self.tally.cancelled[state.reason or _CANCELLED] += 1
        else:
            self.tally.confirmed += 1

    async def _return(self, wanted: ReturnOrder, turn: Turn, tracker: Tracker) -> None:
        pieces: Counter[str] = Counter()
        for line in wanted.lines:
            pieces[line.stock_code] += line.quantity
        document = {
            "return_ref": wanted.return_ref,
            "customer_id": wanted.customer_ref,
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in pieces.items()],
        }
        async with self._sending:
            answer = await self.gateway.request_return(wanted.return_ref, document)
        turn.matched()
        if isinstance(answer, Refused):
            self.rejects.reject(wanted.lines, answer.reason)
            return
        for line, missing in unmatched_lines(wanted.lines, answer.unmatched):
            detail = "" if missing == line.quantity else f"{missing} of {line.quantity} pieces were never sold"
            self.rejects.reject([line], RETURN_WITHOUT_SALE, detail)
        self.tally.returns_requested += 1
        if not answer.ended:
            await tracker.return_end(wanted.return_ref)
        self.tally.returned += 1


def unmatched_lines(lines: Sequence[SaleLine], unmatched: Iterable[Part]) -> Iterator[tuple[SaleLine, int]]:
    """The lines of a return that were not sold, with how many pieces of each; the last ones of a product first."""
    left = {part.sku: part.quantity for part in unmatched}
    for line in reversed(lines):
        missing = min(left.get(line.stock_code, 0), line.quantity)
        if missing:
            left[line.stock_code] -= missing
            yield line, missing


def _first(group: BaseException) -> BaseException:
    """The error to raise for a group: the first that is not about patience, if there is one."""
    if not isinstance(group, BaseExceptionGroup):
        return group
    found = [_first(each) for each in group.exceptions]
    return next((each for each in found if not isinstance(each, OutOfPatience)), found[0])
