"""An order's life, as pure functions: the events that follow from a command, and the state that follows from events.

An order reaches its stages one after the other and never returns to an earlier one. Commands may come late, twice or
out of order: a command for a later stage also appends the events of the stages before it, and a command for a stage
already reached appends none. Imports the events and rules of orders, and Freehold's aggregates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from freehold import Decider
from freehold_shop.orders.contracts import (
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderReturned,
)
from freehold_shop.orders.domain import NotSold, OrderStatus, SoldLine, mark_returned
from freehold_shop.orders.history import (
    OrderDelivered,
    OrderPaymentHeld,
    OrderReturnRefunded,
    OrderReturnRequested,
    OrderReturnRestocked,
    OrderShipped,
    OrderStockReserved,
)
from freehold_shop.orders.order import (
    Cancel,
    Command,
    NoteRefunded,
    NoteRestocked,
    Order,
    OrderExists,
    Place,
    Reach,
    RequestReturn,
    ReturnPart,
    Stage,
)

__all__ = ["ORDER", "Event", "decide", "evolve"]


Event = (
    OrderPlaced
    | OrderStockReserved
    | OrderPaymentHeld
    | OrderConfirmed
    | OrderShipped
    | OrderDelivered
    | OrderCancelled
    | OrderReturnRequested
    | OrderReturnRefunded
    | OrderReturnRestocked
    | OrderReturned
)


def decide(state: Order | None, command: Command) -> Sequence[Event]:
    """The events that follow from a command; none where it comes too late. Raises `OrderExists`, `NotSold`."""
    if isinstance(command, Place):
        return _place(state, command)
    return () if state is None else _decide(state, command)


def evolve(state: Order | None, event: Event) -> Order | None:
    """The state after an event."""
    if isinstance(event, OrderPlaced):
        lines = tuple([SoldLine(line.sku, line.quantity, line.price_pence) for line in event.lines])
        return Order(event.order_id, event.customer_id, event.checkout, event.total, lines, event.placed_at_ms)
    return None if state is None else _evolve(state, event)


def _decide(state: Order, command: Reach | Cancel | RequestReturn | NoteRefunded | NoteRestocked) -> Sequence[Event]:
    match command:
        case Reach(stage):
            return _reach(state, stage)
        case Cancel():
            return _cancel(state, command)
        case RequestReturn():
            return _request_return(state, command)
        case NoteRefunded(return_ref):
            part = state.part(return_ref)
            return () if part is None or part.refunded else _note(state, part, refunded=True)
        case NoteRestocked(return_ref):
            part = state.part(return_ref)
            return () if part is None or part.restocked else _note(state, part, restocked=True)


def _evolve(state: Order, event: Event) -> Order:
    match event:
        case OrderStockReserved() | OrderPaymentHeld() | OrderConfirmed() | OrderShipped() | OrderDelivered():
            return replace(state, stage=_STAGES[type(event)])
        case OrderCancelled():
            return replace(state, reason=event.reason)
        case OrderReturnRequested():
            part = ReturnPart(event.return_ref, event.refund, event.lines)
            return replace(state, lines=mark_returned(state.lines, event.lines), returns=(*state.returns, part))
        case OrderReturnRefunded():
            return _with_part(state, event.return_ref, refunded=True)
        case OrderReturnRestocked():
            return _with_part(state, event.return_ref, restocked=True)
        case OrderPlaced() | OrderReturned():
            return state  # the events of a return's halves have changed the state; this one is for other services


_STAGES: Final[dict[type, Stage]] = {
    OrderStockReserved: Stage.STOCK_RESERVED,
    OrderPaymentHeld: Stage.PAYMENT_HELD,
    OrderConfirmed: Stage.CONFIRMED,
    OrderShipped: Stage.SHIPPED,
    OrderDelivered: Stage.DELIVERED,
}


def _place(state: Order | None, command: Place) -> Sequence[Event]:
    if state is None:
        return (
            OrderPlaced(
                command.order_id,
                command.customer_id,
                command.checkout,
                command.total,
                command.lines,
                command.placed_at_ms,
            ),
        )
    lines = tuple([OrderLine(line.sku, line.quantity, line.price_pence) for line in state.lines])
    if (state.customer_id, state.total, lines) != (command.customer_id, command.total, command.lines):
        raise OrderExists(command.order_id)
    return ()


def _reach(state: Order, stage: Stage) -> Sequence[Event]:
    """The events of the stage and of the stages before it that are missing. Only a confirmed order can be shipped."""
    if state.reason is not None or (stage > Stage.CONFIRMED > state.stage):
        return ()
    return [_reached(state, Stage(each)) for each in range(state.stage + 1, stage + 1)]


def _reached(state: Order, stage: Stage) -> Event:
    match stage:
        case Stage.STOCK_RESERVED:
            return OrderStockReserved(state.order_id)
        case Stage.PAYMENT_HELD:
            return OrderPaymentHeld(state.order_id)
        case Stage.CONFIRMED:
            return OrderConfirmed(state.order_id, state.customer_id, state.checkout, state.total)
        case Stage.SHIPPED:
            return OrderShipped(state.order_id)
        case Stage.DELIVERED:
            return OrderDelivered(state.order_id)
        case Stage.PLACED:
            raise AssertionError("an order begins with this stage")


def _cancel(state: Order, command: Cancel) -> Sequence[Event]:
    """Cancel an order before its confirmation; with `confirmed_too` also a confirmed one that is not shipped."""
    unsold = state.reason is None and state.stage < Stage.CONFIRMED
    undone = command.confirmed_too and state.status is OrderStatus.CONFIRMED
    spared = command.only is not None and command.only is not state.checkout
    if spared or not (unsold or undone):
        return ()
    return (OrderCancelled(state.order_id, state.customer_id, state.checkout, command.reason),)


def _request_return(state: Order, command: RequestReturn) -> Sequence[Event]:
    if state.part(command.return_ref) is not None:
        return ()
    if state.reason is not None or state.stage < Stage.CONFIRMED:
        raise NotSold(state.order_id)
    mark_returned(state.lines, command.lines)
    return (OrderReturnRequested(state.order_id, command.return_ref, command.refund, command.lines),)


def _note(state: Order, part: ReturnPart, *, refunded: bool = False, restocked: bool = False) -> Sequence[Event]:
    """The event that one half of a return is done, and with the second half the event that the return is done."""
    half = (OrderReturnRefunded if refunded else OrderReturnRestocked)(state.order_id, part.return_ref)
    if not (part.refunded or refunded) or not (part.restocked or restocked):
        return (half,)
    after = _with_part(state, part.return_ref, refunded=True, restocked=True)
    return half, OrderReturned(state.order_id, part.return_ref, part.refund, after.all_returned)


def _with_part(state: Order, return_ref: str, *, refunded: bool = False, restocked: bool = False) -> Order:
    parts = [
        replace(part, refunded=part.refunded or refunded, restocked=part.restocked or restocked)
        if part.return_ref == return_ref
        else part
        for part in state.returns
    ]
    return replace(state, returns=tuple(parts))


ORDER: Final[Decider[Order | None, Command, Event]] = Decider("order", None, decide, evolve)
"""The order as an aggregate; its streams are `order-<order id>`."""
