"""Counts all flows on one engine. Imports the counters, the ground, the flows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from unittest.mock import patch

from tests.ledger.counters import Counters
from tests.ledger.flows import FLOWS
from tests.ledger.ground import ground
from tests.ledger.idle import IDLE, idle_minute
from tests.ledger.session_looks import session_looks

from freehold.testing import ManualClock

__all__ = ["counted"]


async def counted(counting: AbstractAsyncContextManager[Counters], directory: Path) -> Mapping[str, Mapping[str, int]]:
    """What each flow costs on the engine, by name. The idle minute comes first, on an empty database."""
    clock = ManualClock()
    # Whether BEGIN goes with the first statement must not depend on how busy the machine is.
    alive = patch("freehold.adapters.postgres.connection._ALIVE_SECONDS", math.inf)
    async with counting as counters:
        with session_looks(clock), alive:
            return await _flows(counters, directory, clock)


async def _flows(counters: Counters, directory: Path, clock: ManualClock) -> Mapping[str, Mapping[str, int]]:
    found: dict[str, Mapping[str, int]] = {}
    idle = await idle_minute(counters, directory, clock)
    async with ground(counters, directory, clock) as service:
        for flow in FLOWS:
            for run in ("warm", "counted"):
                service.begin_flow(f"{re.sub('[^a-z0-9]+', '.', flow.name)}.{run}")
                await flow.run(service)
            found[flow.name] = dict(service.counted)
    return {**found, IDLE: idle}
