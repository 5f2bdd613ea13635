"""Helpers for tests of services: a manual clock (`ManualClock`), a record of sent messages (`recorded`), a wait until
all work is done (`settled`), and the exploration of a saga through all failures of its steps (`explore`).
"""

from __future__ import annotations

from freehold.testing.clock import ManualClock
from freehold.testing.participants import SagaViolation
from freehold.testing.recorder import Recording, recorded
from freehold.testing.saga import explore
from freehold.testing.settlement import NotSettled, settled, unsettled

__all__ = ["ManualClock", "NotSettled", "Recording", "SagaViolation", "explore", "recorded", "settled", "unsettled"]
