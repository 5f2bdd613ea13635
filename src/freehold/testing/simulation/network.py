"""What is between a simulated process and the database or broker in memory: it delays, refuses and loses. Testing:
imports the foundation.

A request is lost before it is carried out, and an answer after it was. The client sees `Unavailable` in both cases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from freehold.errors import Unavailable
from freehold.testing.simulation.faults import Fault, FaultKind
from freehold.testing.simulation.loop import SimulatedProcess

__all__ = ["BrokerNetwork", "Conditions", "DatabaseNetwork"]

_FASTEST_SECONDS: Final = 0.0002
_SLOWEST_SECONDS: Final = 0.003
_SLOW: Final = 100
_LOST_PART: Final = 0.4
_TIMEOUT_SECONDS: Final = 1.0
_WRITES: Final = frozenset({"commit"})


class Conditions:
    """The faults that are in force, and the draws of a run."""

    def __init__(self, draw: random.Random, note: Callable[[str], None]) -> None:
        self.draw = draw
        self.note = note
        self._in_force: list[Fault] = []

    def begin(self, fault: Fault) -> None:
        """Have a fault in force."""
        self._in_force.append(fault)

    def end(self, fault: Fault) -> None:
        """End a fault."""
        if fault in self._in_force:
            self._in_force.remove(fault)

    def clear(self) -> None:
        """End all faults."""
        self._in_force.clear()

    def holds(self, kind: FaultKind, *targets: str) -> bool:
        """Whether a fault of a kind is in force for one of these targets."""
        # Most of the time there is none, and this is asked several times for each call.
        return bool(self._in_force) and any(each.kind is kind and each.target in targets for each in self._in_force)

    async def delay(self, *, slow: bool) -> None:
        """Wait as long as a call takes."""
        await asyncio.sleep(self.draw.uniform(_FASTEST_SECONDS, _SLOWEST_SECONDS) * (_SLOW if slow else 1))

    def is_lost(self) -> bool:
        """Draw whether an answer is lost while some are."""
        return self.draw.random() < _LOST_PART


class DatabaseNetwork:
    """Between a process and the database of its service."""

    def __init__(self, conditions: Conditions, process: SimulatedProcess, service: str) -> None:
        self._conditions = conditions
        self._process = process
        self._service = service

    async def send(self, request: str) -> None:
        """Wait for the request to arrive. Raises `Unavailable`."""
        conditions, service = self._conditions, self._service
        await conditions.delay(slow=conditions.holds(FaultKind.DATABASE_SLOW, service))
        if conditions.holds(FaultKind.DATABASE_AWAY, service):
            await asyncio.sleep(_TIMEOUT_SECONDS)
            raise Unavailable("the database cannot be reached (simulated)")
        if request in _WRITES and conditions.holds(FaultKind.DATABASE_READ_ONLY, service):
            raise Unavailable("the database takes no writes (simulated)")

    async def answer(self, request: str) -> None:
        """Wait for the answer to arrive. Raises `Unavailable`."""
        conditions = self._conditions
        conditions.note(f"{self._process.name}: {request}")
        await conditions.delay(slow=conditions.holds(FaultKind.DATABASE_SLOW, self._service))
        if conditions.holds(FaultKind.COMMIT_UNKNOWN, self._service) and conditions.is_lost():
            conditions.note(f"{self._process.name}: the answer to {request} is lost")
            raise Unavailable("the commit was not answered, and whether it took effect is not known (simulated)")


class BrokerNetwork:
    """Between a process and the broker."""

    def __init__(self, conditions: Conditions, process: SimulatedProcess) -> None:
        self._conditions = conditions
        self._process = process

    async def send(self, request: str) -> None:
        """Wait for the request to arrive. Raises `Unavailable`."""
        conditions = self._conditions
        await conditions.delay(slow=conditions.holds(FaultKind.BROKER_SLOW, ""))
        if self._is_away():
            await asyncio.sleep(_TIMEOUT_SECONDS)
            raise Unavailable("the broker cannot be reached (simulated)")

    async def answer(self, request: str) -> None:
        """Wait for the answer to arrive. Raises `Unavailable`."""
        conditions = self._conditions
        conditions.note(f"{self._process.name}: {request}")
        await conditions.delay(slow=conditions.holds(FaultKind.BROKER_SLOW, ""))
        if self._is_away() or (conditions.holds(FaultKind.PUBLISH_UNKNOWN, "") and conditions.is_lost()):
            conditions.note(f"{self._process.name}: the answer to {request} is lost")
            raise Unavailable("the broker did not answer (simulated)")

    def _is_away(self) -> bool:
        conditions = self._conditions
        return conditions.holds(FaultKind.BROKER_AWAY, "") or conditions.holds(FaultKind.BROKER_CUT, self._process.name)
