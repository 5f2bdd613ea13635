"""What the inbox says of arrivals, as a pure decision that all its stores share. Pattern: imports its own port.

A store finds out, in one transaction, which arrivals are not blocked by a deferred message, and which receipts exist
already; the decision gives the words and the receipts to write. Arrivals are taken in their order, so that an action
and its compensation may come in one call, either way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from freehold.inbox.store import Arrival, Receipt, ReceiptStatus

__all__ = ["ReceiveDecision", "StoredReceipt", "judge", "open_places", "receipt_keys"]


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt as it is kept: `barred` where a compensation wrote it in place of its action."""

    barred: bool
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReceiveDecision:
    """The word on each arrival, in order, and the receipts to write, by key: whether barred."""

    receipts: tuple[Receipt, ...]
    written: Mapping[str, bool]


def receipt_keys(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Every receipt that the arrivals ask for: their own, and those that they bar."""
    for arrival in arrivals:
        yield arrival.receipt_key
        if arrival.bars is not None:
            yield arrival.bars


def open_places(arrivals: Sequence[Arrival], first_deferred: Callable[[str, str], int | None]) -> frozenset[int]:
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


def judge(arrivals: Sequence[Arrival], places: frozenset[int], stored: Mapping[str, StoredReceipt]) -> ReceiveDecision:
    """Say what each arrival is. `places` are those not blocked; `stored` the receipts that were there before."""
    written: dict[str, bool] = {}
    receipts: list[Receipt] = []
    for place, arrival in enumerate(arrivals):
        if place not in places:
            receipts.append(Receipt(ReceiptStatus.BLOCKED))
            continue
        own = _find(arrival.receipt_key, stored, written)
        if own is None:
            written[arrival.receipt_key] = False
        receipts.append(_word(own, barring=_bar(arrival, stored, written)))
    return ReceiveDecision(receipts=tuple(receipts), written=written)


def _find(key: str, stored: Mapping[str, StoredReceipt], written: Mapping[str, bool]) -> StoredReceipt | None:
    found = stored.get(key)
    if found is None and key in written:
        return StoredReceipt(barred=written[key])
    return found


def _bar(arrival: Arrival, stored: Mapping[str, StoredReceipt], written: dict[str, bool]) -> bool:
    """Bar the action unless it was handled; returns whether it is barred, so that nothing is to be undone."""
    if arrival.bars is None:
        return False
    action = _find(arrival.bars, stored, written)
    if action is not None:
        return action.barred
    written[arrival.bars] = True
    return True


def _word(own: StoredReceipt | None, *, barring: bool) -> Receipt:
    match own:
        case None:
            return Receipt(ReceiptStatus.EMPTY if barring else ReceiptStatus.FRESH)
        case StoredReceipt(barred=True, answer=answer):
            return Receipt(ReceiptStatus.BARRED, answer)
        case StoredReceipt(answer=answer):
            return Receipt(ReceiptStatus.DUPLICATE, answer)
