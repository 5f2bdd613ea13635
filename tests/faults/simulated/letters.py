"""Letters: some messages always fail. They become dead letters, others of their key go on, and they are replayed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from tests.faults.simulated.clients import RARE_POLLS, persistent, rows

from freehold import Retry, Service, Transaction, event
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetterFilter
from freehold.testing import ALL_FAULTS, FaultKind, Scenario, World

__all__ = ["Letters"]

_KEYS: Final = ("p", "q")
_NUMBERS: Final = 10
_POISON: Final = frozenset({("p", 2), ("p", 3), ("q", 5)})
_QUIET_SECONDS: Final = 600.0


@event("authors.wrote", key="name")
class Wrote:
    """A number of a key."""

    name: str
    number: int


class Letters(Scenario):
    """What cannot be handled is a dead letter once, delays nothing else for long, and is handled once if replayed."""

    seconds = 30.0
    # A handler that fails for another reason would make more dead letters.
    faults: Collection[FaultKind] = ALL_FAULTS - {FaultKind.HANDLER_FAILS, FaultKind.HANDLER_SLOW}
    settings: Mapping[str, Any] = RARE_POLLS

    def __init__(self) -> None:
        self.poison = set(_POISON)

    def services(self) -> Sequence[Service]:
        authors, readers = Service("authors"), Service("readers", retry=Retry(attempts=3, delay_seconds=0.2))

        @readers.handles(Wrote)
        async def wrote(message: Wrote, tx: Transaction) -> None:
            tx.connection[message.name] = [*tx.connection.get(message.name, []), message.number]
            if (message.name, message.number) in self.poison:
                raise ValueError("poison")

        return [authors, readers]

    async def work(self, world: World) -> None:
        for number in range(_NUMBERS):
            for name in _KEYS:
                await persistent(world, "authors", partial(_write, name, number))
            await world.sleep(world.draw.uniform(0.0, 3.0))

    async def check(self, world: World) -> None:
        found = await rows(world, "readers")
        for name in _KEYS:
            wanted = [number for number in range(_NUMBERS) if (name, number) not in _POISON]
            assert found[name] == wanted, f"{name}: {found[name]}"
        actions = DeadLetterActions(world.running("readers").context)
        letters = await actions.find(DeadLetterFilter())
        assert len(letters) == len(_POISON), f"dead letters: {[(each.key, each.detail) for each in letters]}"
        self.poison.clear()
        for letter in letters:
            await actions.replay(letter.id, actor="tests", reason="the handler is mended")
        assert not await world.quiet(_QUIET_SECONDS)
        found = await rows(world, "readers")
        for name in _KEYS:
            assert sorted(found[name]) == list(range(_NUMBERS)), f"{name} after the replay: {found[name]}"
        assert not await actions.find(DeadLetterFilter()), "a replayed letter is dead again"


async def _write(name: str, number: int, tx: Transaction) -> None:
    if (name, number) not in tx.connection:
        tx.connection[name, number] = 1
        tx.publish(Wrote(name, number))
