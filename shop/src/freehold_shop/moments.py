"""Times as the shop's tables store them: whole milliseconds since 1970, UTC.

For display and its order; no decision depends on them. Imports Freehold's clock and transaction.
"""

from __future__ import annotations

from datetime import datetime

from freehold import Clock, SystemClock
from freehold.transaction import Transaction

__all__ = ["milliseconds", "moment_ms", "now_ms"]

_clock: Clock = SystemClock()


def milliseconds(moment: datetime) -> int:
    """An aware time as whole milliseconds."""
    return int(moment.timestamp() * 1000)


def now_ms() -> int:
    """The time of the wall clock."""
    return milliseconds(_clock.now())


def moment_ms(tx: Transaction) -> int:
    """The time of the message that the transaction handles; without one, of the wall clock."""
    return milliseconds(tx.cause.time) if tx.cause is not None else now_ms()
