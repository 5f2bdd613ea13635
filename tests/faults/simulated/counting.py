"""Events of some keys, each counted once and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from tests.faults.simulated.clients import PATIENT, RARE_POLLS, no_dead_letters, persistent

from freehold import Service, Transaction, event
from freehold.testing import Scenario, World

__all__ = ["Counted", "Counting"]

_KEYS: Final = ("a", "b", "c")
_NUMBERS: Final = 12


@event("source.counted", key="name")
class Counted:
    """A number of a key."""

    name: str
    number: int


class Counting(Scenario):
    """Each number of a key arrives once, after the one before it; some of them are sent at a time."""

    seconds = 40.0
    settings: Mapping[str, Any] = RARE_POLLS

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()

    def services(self) -> Sequence[Service]:
        source, target = Service("source"), Service("target", retry=PATIENT)

        @target.handles(Counted)
        async def counted(message: Counted, tx: Transaction) -> None:
            self.calls[message.name, message.number] += 1
            tx.connection[message.name] = [*tx.connection.get(message.name, []), message.number]

        return [source, target]

    async def work(self, world: World) -> None:
        for number in range(_NUMBERS):
            for name in _KEYS:
                await persistent(world, "source", partial(_count, name, number))
            await world.sleep(world.draw.uniform(0.0, 4.0))

    async def check(self, world: World) -> None:
        world.sometimes("a handler was called again", max(self.calls.values()) > 1)
        world.sometimes("a process crashed", world.restarts)
        await no_dead_letters(world, "target")
        async with world.running("target").transaction() as tx:
            for name in _KEYS:
                found = tx.connection.get(name, [])
                assert found == list(range(_NUMBERS)), f"{name}: {found}"


async def _count(name: str, number: int, tx: Transaction) -> None:
    if (name, number) not in tx.connection:
        tx.connection[name, number] = 1
        tx.publish(Counted(name, number))
