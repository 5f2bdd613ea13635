"""Takes back what `poison` did: its messages, which are dead letters by now, are dropped as a person would drop them.

Imports the composition root, the runtime's actions, and the poison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from freehold.binding import open_broker, open_stores
from freehold.broker import Broker
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import Unavailable
from freehold.runtime import DeadLetterActions
from freehold.settings import Settings
from freehold_shop.faults.poison import is_poison

__all__ = ["draw_out"]

_READ_SECONDS: Final = 12.0
_LOOK_SECONDS: Final = 0.1
_LETTERS_MAX: Final = 10_000


async def draw_out(settings: Mapping[str, Settings], readers: Iterable[str]) -> int:
    """Wait until every reader has read past the poison, then drop the dead letters that it became; returns how many.

    Raises `Unavailable` where a reader does not catch up in time: nothing was dropped, and the fault stays on.
    """
    await _wait_for(settings, set(readers))
    return sum([await _drop(name, each) for name, each in settings.items()])


async def _wait_for(settings: Mapping[str, Settings], behind: set[str]) -> None:
    chosen = next(iter(settings.values()))
    broker = open_broker(chosen.broker, chosen.broker_options)
    await broker.open()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            while behind:
                behind -= {group for group in behind if await _has_read_all(broker, group)}
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError as error:
        raise Unavailable(
            f"still unread by {', '.join(sorted(behind))} after {_READ_SECONDS:g} s", hint="heal again later"
        ) from error
    finally:
        await broker.close()


async def _has_read_all(broker: Broker, group: str) -> bool:
    return all(topic.pending == 0 for topic in await broker.lag(group))


async def _drop(service: str, settings: Settings) -> int:
    stores = open_stores(settings.database, settings.database_options)
    await stores.database.open()
    try:
        actions = DeadLetterActions(stores, settings)
        letters = await actions.find(DeadLetterFilter(limit=_LETTERS_MAX))
        planted = [letter for letter in letters if is_poison(letter.document)]
        for letter in planted:
            await actions.drop(
                letter.id, actor="shop heal", reason=f"planted in {service} by shop break poison-message"
            )
        return len(planted)
    finally:
        await stores.database.close()
