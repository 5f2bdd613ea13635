"""Work that is repeated where somebody else came first, and where it is not."""

from __future__ import annotations

import pytest
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import ConcurrencyConflict, RunningService, Service, Transaction, VersionMismatch


@pytest.mark.parametrize(("error", "times"), [(ConcurrencyConflict, 5), (VersionMismatch, 1)])
async def test_a_conflict_is_tried_again_and_an_old_version_is_not(
    error: type[ConcurrencyConflict], times: int
) -> None:
    """Another try would find the same version that the client has not seen."""
    calls: list[int] = []

    async def work(_: Transaction) -> None:
        calls.append(1)
        raise error("somebody was first")

    async with RunningService(Service("trial"), settings_for("trial"), broker=memory_broker(), roles=()) as running:
        with pytest.raises(error):
            await running.transact(work)
    assert len(calls) == times
