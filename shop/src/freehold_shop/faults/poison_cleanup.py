"""Ends `poison`: discards the dead letters that its messages have become, as an operator would do.

A marker shows that a reader is past the poison: one more unreadable message, published behind it under the same key.
Once the marker is a dead letter, everything before it is one too, whatever else keeps coming. Imports the composition
root, the runtime's actions, and the poison.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from freehold import ConcurrencyConflict, Service, Settings, Unavailable
from freehold.deadletters import DeadLetter, DeadLetterFilter
from freehold.runtime import DeadLetterActions, Stores, open_broker, open_stores, service_context
from freehold_shop.faults.poison import is_poison, nonsense, publish_all

__all__ = ["READ_SECONDS", "discard_poison"]

READ_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.25
_PAGE_LETTERS: Final = 200


async def discard_poison(
    settings: Mapping[str, Settings], readers: Mapping[str, frozenset[str]], read_seconds: float = READ_SECONDS
) -> int:
    """Wait until every reader has read past the poison in its topics, and discard the dead letters that it became.

    Returns how many were discarded. Raises `Unavailable` where a reader does not catch up in time, or its database or
    the broker is not available: the fault then stays on, and this can be repeated.
    """
    markers = await _publish_markers(settings, frozenset().union(*readers.values()))
    behind = [_Reader(name, settings[name], {markers[topic]: topic for topic in readers[name]}) for name in readers]
    discarded = 0
    async with contextlib.AsyncExitStack() as stack:
        for reader in behind:
            stack.push_async_callback(reader.stores.database.close)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(read_seconds):
                while behind:
                    discarded += sum([await reader.discard() for reader in behind])
                    behind = [reader for reader in behind if not reader.is_clean]
                    await asyncio.sleep(_LOOK_SECONDS)  # readers are other processes and send no signal
    if behind:
        raise Unavailable(
            f"after {read_seconds:g} s: {'; '.join(reader.words for reader in behind)}",
            hint="check with freehold ps whether these services run and read",
        )
    return discarded


class _Reader:
    """A service that reads poisoned topics. `unread` has the markers that it has not read yet, with their topics."""

    def __init__(self, name: str, settings: Settings, unread: dict[bytes, str]) -> None:
        self.name, self.settings, self.unread = name, settings, unread
        self.stores: Stores = open_stores(settings.database, settings.database_options)
        self.is_clean = False
        self.trouble = ""

    async def discard(self) -> int:
        """Discard the poison found; returns how many. A database that is away or locked is tried again later."""
        try:
            await self.stores.database.open()
            actions = DeadLetterActions(service_context(Service(self.name), self.stores, self.settings))
            found = await _poison_in(actions)
            for letter in found:
                self.unread.pop(letter.document, None)
            reason = f"planted in {self.name} by shop break poison-message"
            discarded = 0
            for start in range(0, len(found), _PAGE_LETTERS):
                letter_ids = [letter.id for letter in found[start : start + _PAGE_LETTERS]]
                outcomes = await actions.discard_many(letter_ids, actor="shop heal", reason=reason)
                discarded += sum(isinstance(outcome, UUID) for outcome in outcomes.values())
        except (Unavailable, ConcurrencyConflict) as error:
            self.trouble = str(error)
            return 0
        self.is_clean, self.trouble = not self.unread and discarded == len(found), ""
        return discarded

    @property
    def words(self) -> str:
        """The reason for waiting, for messages."""
        if self.trouble:
            return f"the database of {self.name} could not be used: {self.trouble}"
        if self.unread:
            return f"{self.name} has not read past the poison in {', '.join(sorted(self.unread.values()))}"
        return f"dead letters of {self.name} could not be discarded"


async def _publish_markers(settings: Mapping[str, Settings], topics: frozenset[str]) -> Mapping[str, bytes]:
    """Publish a marker to each topic; returns their documents."""
    chosen = next(iter(settings.values()))
    markers = [nonsense(topic) for topic in sorted(topics)]
    broker = open_broker(chosen.broker, chosen.broker_options)
    await broker.open()
    try:
        await publish_all(broker, markers)
    finally:
        await broker.close()
    return {each.topic: each.document for each in markers}


async def _poison_in(actions: DeadLetterActions) -> Sequence[DeadLetter]:
    found: list[DeadLetter] = []
    after = None
    while True:
        page = await actions.find(DeadLetterFilter(limit=_PAGE_LETTERS, after=after))
        found += [letter for letter in page if is_poison(letter.document)]
        if len(page) < _PAGE_LETTERS:
            return found
        after = (page[-1].failed_at, page[-1].id)
