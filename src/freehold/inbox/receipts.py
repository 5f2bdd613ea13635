"""The duplicate check of the inbox, as pure functions that all stores share. Pattern: imports its port and `reply`.

A store reads, in one transaction, which arrivals are not blocked by a deferred message, and which receipts exist.
`decide` then returns the result for each arrival and the receipts to write. It processes arrivals in their order, so an
action and its compensation may come in one call, in either order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from freehold.inbox.reply import is_refusal
from freehold.inbox.store import IncomingMessage, ReceiveResult, ReceiveStatus

__all__ = ["Receipt", "ReceiveDecision", "decide", "receipt_keys", "unblocked_indexes"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stored receipt. `cancelled`: a compensation wrote it in place of its action. `reply` is the stored one."""

    cancelled: bool
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReceiveDecision:
    """The result for each arrival, in order, and the receipts to write: by key, whether the action is cancelled."""

    receipts: tuple[ReceiveResult, ...]
    written: Mapping[str, bool]


def receipt_keys(arrivals: Sequence[IncomingMessage]) -> Iterator[str]:
    """All receipt keys that the arrivals need: their own, and those of the actions that they compensate."""
    for arrival in arrivals:
        yield arrival.receipt_key
        if arrival.compensates is not None:
            yield arrival.compensates


def unblocked_indexes(
    arrivals: Sequence[IncomingMessage], first_deferred: Callable[[str, str], int | None]
) -> frozenset[int]:
    """Indexes of the arrivals that no deferred message blocks. `first_deferred(topic, key)` returns the position of the
    earliest deferred message of a key.

    An arrival that comes from the deferred messages is blocked by an earlier one only. A blocked arrival blocks all
    later ones of its key.
    """
    blocked: set[tuple[str, str]] = set()
    unblocked: set[int] = set()
    for index, arrival in enumerate(arrivals):
        key = (arrival.topic, arrival.key)
        first = first_deferred(*key)
        own = arrival.deferred_position
        if key not in blocked and (first is None or (own is not None and own <= first)):
            unblocked.add(index)
        else:
            blocked.add(key)
    return frozenset(unblocked)


def decide(
    arrivals: Sequence[IncomingMessage], unblocked: frozenset[int], stored: Mapping[str, Receipt]
) -> ReceiveDecision:
    """Decide on each arrival. `unblocked` are indexes of arrivals; `stored` are the receipts that exist."""
    written: dict[str, bool] = {}
    receipts: list[ReceiveResult] = []
    for index, arrival in enumerate(arrivals):
        if index not in unblocked:
            receipts.append(ReceiveResult(ReceiveStatus.BLOCKED))
            continue
        own = _find(arrival.receipt_key, stored, written)
        if own is None:
            written[arrival.receipt_key] = False
        receipts.append(_result(own, cancelling=_cancel(arrival, stored, written)))
    return ReceiveDecision(receipts=tuple(receipts), written=written)


def _find(key: str, stored: Mapping[str, Receipt], written: Mapping[str, bool]) -> Receipt | None:
    found = stored.get(key)
    if found is None and key in written:
        return Receipt(cancelled=written[key])
    return found


def _cancel(arrival: IncomingMessage, stored: Mapping[str, Receipt], written: dict[str, bool]) -> bool:
    """Cancel the action unless it was handled. True: it is cancelled or was refused, so there is nothing to compensate.

    A refusal that came too late is not known to the saga, which compensates what may have happened.
    """
    if arrival.compensates is None:
        return False
    action = _find(arrival.compensates, stored, written)
    if action is not None:
        return action.cancelled or is_refusal(action.reply)
    written[arrival.compensates] = True
    return True


def _result(own: Receipt | None, *, cancelling: bool) -> ReceiveResult:
    match own:
        case None:
            return ReceiveResult(ReceiveStatus.NO_EFFECT if cancelling else ReceiveStatus.NEW)
        case Receipt(cancelled=True, reply=reply):
            return ReceiveResult(ReceiveStatus.CANCELLED, reply)
        case Receipt(reply=reply):
            return ReceiveResult(ReceiveStatus.DUPLICATE, reply)
