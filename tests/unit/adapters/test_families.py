"""What SQL engines write in different ways stands in the families, not in the stores that they share."""

from __future__ import annotations

from pathlib import Path

import pytest

import freehold.adapters.sql
from freehold.adapters.sql.families.upsert import insert_or_update

_STORES = {path.stem: path.read_text() for path in Path(freehold.adapters.sql.__path__[0]).glob("*.py")}


@pytest.mark.parametrize("words", ["ON CONFLICT", "SKIP LOCKED", "alone_sql", "pg_"])
def test_no_store_writes_what_is_a_familys(words: str) -> None:
    # A row of `logs` is noted, and what became of it returned, in one statement that no other store needs.
    excepted = {"logs"} if words == "ON CONFLICT" else set()
    assert {name for name, text in _STORES.items() if words in text} == excepted


def test_rows_are_returned_by_statements_that_tell_more_than_their_number() -> None:
    """A number that was drawn, the engine's time, a sum, or what was deleted."""
    returning = {name for name, text in _STORES.items() if "RETURNING" in text or "returning" in text}
    assert returning == {"checkpoints", "logs", "replays", "views"}


def test_what_is_new_and_what_is_old_are_told_apart_by_word() -> None:
    statement = insert_or_update(
        "thing", "INSERT INTO thing (id, n) VALUES ($1, $2)", "id", {"n": "old.n + new.n"}, where="renew.n < old.n"
    )
    assert statement == (
        "INSERT INTO thing (id, n) VALUES ($1, $2)\n"
        "ON CONFLICT (id) DO UPDATE SET n = thing.n + excluded.n\nWHERE renew.n < thing.n"
    )
