"""What the inbox says of arrivals, as a pure decision that all its stores share. Pattern: imports its own port.

A store finds out, in one transaction, which arrivals are not blocked by a deferred message, and which receipts exist
already; the decision gives the words and the receipts to write. Arrivals are taken in their order, so that an action
and its compensation may come in one call, either way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from freehold.inbox.store import IncomingMessage, ReceiveResult, ReceiveStatus

__all__ = ["Receipt", "ReceiveDecision", "decide", "receipt_keys", "unblocked_indexes"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as it is kept: `cancelled` where a compensation wrote it in place of its action."""

    cancelled: bool
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReceiveDecision:
    """The word on each arrival, in order, and the receipts to write, by key: whether cancelled."""

    receipts: tuple[ReceiveResult, ...]
    written: Mapping[str, bool]


def receipt_keys(arrivals: Sequence[IncomingMessage]) -> Iterator[str]:
    """Every receipt that the arrivals ask for: their own, and those of the actions that they compensate."""
    for arrival in arrivals:
        yield arrival.receipt_key
        if arrival.compensates is not None:
            yield arrival.compensates


def unblocked_indexes(
    arrivals: Sequence[IncomingMessage], first_deferred: Callable[[str, str], int | None]
) -> frozenset[int]:
    """Places of the arrivals that no deferred message blocks; `first_deferred(topic, key)` is the earliest's position.

    What comes from the deferred messages is blocked by an earlier one only, and a blocked arrival blocks all that
    follow it of its key.
    """
    blocked: set[tuple[str, str]] = set()
    places: set[int] = set()
    for place, arrival in enumerate(arrivals):
        key = (arrival.topic, arrival.key)
        first = first_deferred(*key)
        own = arrival.deferred_position
        if key not in blocked and (first is None or (own is not None and own <= first)):
            places.add(place)
        else:
            blocked.add(key)
    return frozenset(places)


def decide(
    arrivals: Sequence[IncomingMessage], places: frozenset[int], stored: Mapping[str, Receipt]
) -> ReceiveDecision:
    """Say what each arrival is. `places` are those not blocked; `stored` the receipts that were there before."""
    written: dict[str, bool] = {}
    receipts: list[ReceiveResult] = []
    for place, arrival in enumerate(arrivals):
        if place not in places:
            receipts.append(ReceiveResult(ReceiveStatus.BLOCKED))
            continue
        own = _find(arrival.receipt_key, stored, written)
        if own is None:
            written[arrival.receipt_key] = False
        receipts.append(_word(own, cancelling=_cancel(arrival, stored, written)))
    return ReceiveDecision(receipts=tuple(receipts), written=written)


def _find(key: str, stored: Mapping[str, Receipt], written: Mapping[str, bool]) -> Receipt | None:
    found = stored.get(key)
    if found is None and key in written:
        return Receipt(cancelled=written[key])
    return found


def _cancel(arrival: IncomingMessage, stored: Mapping[str, Receipt], written: dict[str, bool]) -> bool:
    """Cancel the action unless it was handled; returns whether it is cancelled: then there is nothing to compensate."""
    if arrival.compensates is None:
        return False
    action = _find(arrival.compensates, stored, written)
    if action is not None:
        return action.cancelled
    written[arrival.compensates] = True
    return True


def _word(own: Receipt | None, *, cancelling: bool) -> ReceiveResult:
    match own:
        case None:
            return ReceiveResult(ReceiveStatus.NO_EFFECT if cancelling else ReceiveStatus.NEW)
        case Receipt(cancelled=True, answer=answer):
            return ReceiveResult(ReceiveStatus.CANCELLED, answer)
        case Receipt(answer=answer):
            return ReceiveResult(ReceiveStatus.DUPLICATE, answer)
