"""PostgreSQL's session locks on the clock of the ledger. Imports the adapter.

They look at their session once a second at most, by the event loop's time: how often, would depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from freehold.adapters.postgres.sessions import _LOOK_SECONDS, SessionLocks
from freehold.testing import ManualClock

__all__ = ["session_looks"]

_LOOKS: Final = -math.inf
_TRUSTS: Final = math.inf


@contextmanager
def session_looks(clock: ManualClock) -> Iterator[None]:
    """Have sessions looked at by the clock's time."""
    original, looked = SessionLocks.is_valid, dict[SessionLocks, float]()

    async def is_valid(self: SessionLocks, driver: Any) -> bool:
        due = clock.monotonic() - looked.get(self, _LOOKS) >= _LOOK_SECONDS
        if due:
            looked[self] = clock.monotonic()
        self._looked_at = _LOOKS if due else _TRUSTS
        return await original(self, driver)

    with patch.object(SessionLocks, "is_valid", is_valid):
        yield
