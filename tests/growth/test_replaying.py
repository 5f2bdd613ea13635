"""Dead letters that are replayed by the ten thousand: each takes as long as one of a few."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.conformance.sql.queries import replayable

from freehold import Service
from freehold.database import DatabaseOptions
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.inbox.store import INBOX
from freehold.ports import Stores
from freehold.runtime import service_context
from freehold.runtime.adapters import open_stores
from freehold.settings import Settings

pytestmark = [pytest.mark.growth, pytest.mark.timeout(600)]
_BATCH = 200


async def _seconds_for_each(file: Path, letters: int) -> float:
    """Of this process, in which SQLite works too: what others take of the machine is left out."""
    stores = open_stores(f"sqlite:///{file}", DatabaseOptions())
    await stores.database.open()
    try:
        await stores.database.upgrade()
        await _dead_letter(stores, letters)
        settings = Settings(service="shop", database="memory://unused", broker="memory://unused")
        actions = DeadLetterActions(service_context(Service("shop"), stores, settings))
        begun, wanted = time.process_time(), DeadLetterFilter(limit=_BATCH)
        while batch := await stores[DEAD_LETTERS].find(wanted):
            outcomes = await actions.replay_many([each.id for each in batch], actor="ada", reason="mended")
            assert len(outcomes) == len(batch)
        seconds = time.process_time() - begun
        assert (await stores[INBOX].stats()).pending == letters
        return seconds / letters
    finally:
        await stores.database.close()


async def _dead_letter(stores: Stores, letters: int) -> None:
    async with stores.database.begin() as db_tx:
        for _ in range(letters):
            await stores[DEAD_LETTERS].add(db_tx, replayable())


async def test_twenty_thousand_letters_are_replayed_as_fast_as_a_thousand(tmp_path: Path) -> None:
    few = await _seconds_for_each(tmp_path / "few.db", 1_000)
    many = await _seconds_for_each(tmp_path / "many.db", 20_000)
    assert many < 3 * few
