"""Scenarios for bugs that those of the long run cannot show: no faults and no polls, or receipts that are pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from tests.faults.simulated.accounts import Accounts
from tests.faults.simulated.counting import Counting
from tests.faults.simulated.deliveries import Deliveries
from tests.faults.simulated.letters import Letters
from tests.faults.simulated.transfers import Transfers
from tests.faults.simulated.trips import Trips

from freehold.testing import FaultKind

__all__ = [
    "QuickAccounts",
    "QuickCounting",
    "QuickDeliveries",
    "QuickLetters",
    "QuickTransfers",
    "QuickTrips",
    "WokenCounting",
    "WokenDeliveries",
    "WokenTransfers",
]

_NO_POLLS: Final[Mapping[str, Any]] = {"poll_seconds": 3600.0}
_SOON_SECONDS: Final = 120.0


class WokenCounting(Counting):
    """Without faults, one process of each service, and polls once an hour: all work is done because loops are woken."""

    instances: Mapping[str, int] = {"source": 1, "target": 1}
    settings: Mapping[str, Any] = _NO_POLLS
    faults: Collection[FaultKind] = frozenset({FaultKind.HANDLER_FAILS})
    quiet_seconds = _SOON_SECONDS


class WokenDeliveries(Deliveries):
    """The same, with scheduled messages."""

    instances: Mapping[str, int] = {"buyers": 1, "packers": 1}
    settings: Mapping[str, Any] = _NO_POLLS
    faults: Collection[FaultKind] = frozenset()
    quiet_seconds = _SOON_SECONDS


class WokenTransfers(Transfers):
    """The same, with the timers of sagas."""

    instances: Mapping[str, int] = {"wallets": 1}
    settings: Mapping[str, Any] = _NO_POLLS
    faults: Collection[FaultKind] = frozenset()
    quiet_seconds = _SOON_SECONDS


class QuickCounting(Counting):
    """Receipts are pruned often, and what is stuck is told soon."""

    settings: Mapping[str, Any] = {**Counting.settings, "prune_interval_seconds": 3.0}
    quiet_seconds = _SOON_SECONDS


class QuickTrips(Trips):
    """What is stuck is told soon."""

    quiet_seconds = 240.0


class QuickTransfers(Transfers):
    """What is stuck is told soon."""

    quiet_seconds = _SOON_SECONDS


class QuickDeliveries(Deliveries):
    """What is stuck is told soon."""

    quiet_seconds = _SOON_SECONDS


class QuickAccounts(Accounts):
    """What is stuck is told soon."""

    quiet_seconds = _SOON_SECONDS


class QuickLetters(Letters):
    """What is stuck is told soon."""

    quiet_seconds = 240.0
