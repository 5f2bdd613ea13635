"""All scenarios that are simulated, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults.simulated.accounts import Accounts
from tests.faults.simulated.checkouts import Checkouts
from tests.faults.simulated.counting import Counting
from tests.faults.simulated.deliveries import Deliveries
from tests.faults.simulated.letters import Letters
from tests.faults.simulated.transfers import Transfers
from tests.faults.simulated.trips import Trips

from freehold.testing import Scenario

__all__ = ["SCENARIOS", "Accounts", "Checkouts", "Counting", "Deliveries", "Letters", "Transfers", "Trips"]

SCENARIOS: Final[Mapping[str, type[Scenario]]] = {
    each.__name__: each for each in (Counting, Checkouts, Trips, Transfers, Deliveries, Accounts, Letters)
}
