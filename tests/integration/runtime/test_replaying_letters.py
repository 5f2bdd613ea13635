"""Dead letters that are replayed or discarded many at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.conformance.engines import OnMemory, OnPostgres, OnSqlite
from tests.conformance.sql.queries import replayable

from freehold import Service
from freehold.audit.store import AUDIT
from freehold.conformance.harness import StoresHarness
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter
from freehold.errors import DatabaseError, FreeholdError, Unavailable
from freehold.ids import new_id
from freehold.inbox.store import INBOX
from freehold.runtime import service_context
from freehold.settings import Settings

BY: dict[str, Any] = {"actor": "ann", "reason": "fixed"}


def _actions(harness: StoresHarness) -> DeadLetterActions:
    settings = Settings(service="shop", database="memory://unused", broker="memory://unused")
    return DeadLetterActions(service_context(Service("shop"), harness.first, settings, clock=harness.clock))


async def _dead_lettered(harness: StoresHarness, number: int) -> list[DeadLetter]:
    letters = [replace(replayable(), failed_at=harness.clock.now()) for _ in range(number)]
    async with harness.first.database.begin() as db_tx:
        for each in letters:
            await harness.first[DEAD_LETTERS].add(db_tx, each)
    return letters


def _kinds(outcomes: dict[UUID, UUID | FreeholdError]) -> list[str]:
    return [type(each).__name__ for each in outcomes.values()]


class _ReplayedMany:
    async def test_one_that_is_refused_does_not_keep_the_others(self, harness: StoresHarness) -> None:
        letters, actions = await _dead_lettered(harness, 4), _actions(harness)
        broken = replace(replayable(), failed_at=harness.clock.now(), document=b"no envelope")
        async with harness.first.database.begin() as db_tx:
            await harness.first[DEAD_LETTERS].add(db_tx, broken)
        await actions.discard(letters[0].id, **BY)
        wanted = [letters[0].id, letters[1].id, broken.id, new_id(), letters[2].id]
        outcomes = dict(await actions.replay_many(wanted, **BY))
        assert _kinds(outcomes) == ["ConcurrencyConflict", "UUID", "CodecError", "NotFound", "UUID"]
        assert (await harness.first[INBOX].stats()).pending == 2
        left = await harness.first[DEAD_LETTERS].find(DeadLetterFilter())
        assert {each.id for each in left} == {letters[3].id, broken.id}
        assert len(await harness.first[AUDIT].find(str(letters[1].id), 5)) == 1
        assert _kinds(dict(await actions.discard_many([letters[2].id, broken.id], **BY))) == [
            "ConcurrencyConflict",
            "UUID",
        ]

    async def test_a_batch_is_one_transaction(self, harness: StoresHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        letters, actions = await _dead_lettered(harness, 50), _actions(harness)
        begun: list[int] = []
        begin = harness.first.database.begin

        def counted() -> Any:
            begun.append(1)
            return begin()

        monkeypatch.setattr(harness.first.database, "begin", counted)
        outcomes = dict(await actions.replay_many([each.id for each in letters], **BY))
        assert _kinds(outcomes) == ["UUID"] * 50
        assert len(begun) == 1

    async def test_what_the_database_refuses_is_tried_one_by_one(
        self, harness: StoresHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        letters, actions = await _dead_lettered(harness, 3), _actions(harness)
        _fail_for(letters[1], DatabaseError("refused"), harness, monkeypatch)
        outcomes = dict(await actions.replay_many([each.id for each in letters], **BY))
        assert _kinds(outcomes) == ["UUID", "DatabaseError", "UUID"]
        assert (await harness.first[INBOX].stats()).pending == 2

    async def test_an_outage_leaves_the_batch_as_it_was(
        self, harness: StoresHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        letters, actions = await _dead_lettered(harness, 3), _actions(harness)
        _fail_for(letters[1], Unavailable("gone"), harness, monkeypatch)
        with pytest.raises(Unavailable):
            await actions.replay_many([each.id for each in letters], **BY)
        assert (await harness.first[INBOX].stats()).pending == 0
        assert len(await harness.first[DEAD_LETTERS].find(DeadLetterFilter())) == 3


def _fail_for(
    letter: DeadLetter, error: FreeholdError, harness: StoresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = harness.first[DEAD_LETTERS]
    mark = store.mark

    async def marking(db_tx: Any, letter_id: UUID, *rest: Any) -> None:
        if letter_id == letter.id:
            raise error
        await mark(db_tx, letter_id, *rest)

    monkeypatch.setattr(store, "mark", marking)


class TestReplayedManyOnMemory(OnMemory, _ReplayedMany):
    pass


class TestReplayedManyOnSqlite(OnSqlite, _ReplayedMany):
    pass


class TestReplayedManyOnPostgres(OnPostgres, _ReplayedMany):
    pass
