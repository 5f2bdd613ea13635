"""Helpers for tests of services built on Freehold: a clock that is moved by hand, what was sent, waiting until all is
done; and exploring sagas through all failures of their steps (`explore`).
"""

from __future__ import annotations

from freehold.testing.clock import ManualClock
from freehold.testing.participants import SagaViolation
from freehold.testing.recorder import Recording, recorded
from freehold.testing.saga import explore
from freehold.testing.settlement import NotSettled, settled, unsettled

__all__ = ["ManualClock", "NotSettled", "Recording", "SagaViolation", "explore", "recorded", "settled", "unsettled"]
