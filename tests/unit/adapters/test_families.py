"""What SQL engines write in different ways stands in the families, not in the stores that they share."""

from __future__ import annotations

from pathlib import Path

import pytest

import freehold.adapters.sql
from freehold.adapters.mariadb.dialect import MariaDbDialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.families.upsert import insert_absent, insert_or_update
from freehold.adapters.sqlite.dialect import SqliteDialect

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
        SqliteDialect(),
        "thing",
        "INSERT INTO thing (id, n) VALUES ($1, $2)",
        "id",
        {"n": "old.n + new.n"},
        where="renew.n < old.n",
    )
    assert statement == (
        "INSERT INTO thing (id, n) VALUES ($1, $2)\n"
        "ON CONFLICT (id) DO UPDATE SET n = thing.n + excluded.n\nWHERE renew.n < thing.n"
    )


def test_an_engine_that_assigns_from_left_to_right_looks_at_the_condition_first() -> None:
    statement = insert_or_update(
        MariaDbDialect(), "thing", "INSERT INTO thing (id, n) VALUES ($1, $2)", "id", {"n": "new.n"}, where="old.n < 3"
    )
    assert statement == (
        "INSERT INTO thing (id, n) VALUES ($1, $2)\nON DUPLICATE KEY UPDATE"
        " id = IF((@freehold_changes := (thing.n < 3)) IS NULL, thing.id, thing.id),"
        " n = IF(@freehold_changes, VALUES(n), thing.n)"
    )


def test_a_row_that_is_there_is_left_without_passing_over_other_errors() -> None:
    """INSERT IGNORE would cut a text that is too long, and go on."""
    insert = "INSERT INTO thing (id, n) VALUES ($1, $2)"
    assert insert_absent(MariaDbDialect(), insert) == f"{insert}\nON DUPLICATE KEY UPDATE id = thing.id"


def test_rows_are_chosen_before_they_are_deleted() -> None:
    chosen = "SELECT scope, key FROM thing ORDER BY n LIMIT $1"
    assert prune_unlocked(MariaDbDialect(), "thing", "(scope, key)", chosen, where="n < $2") == (
        f"DELETE thing FROM (\n{chosen} FOR UPDATE SKIP LOCKED\n) AS chosen STRAIGHT_JOIN thing USING (scope, key)"
        "\nWHERE n < $2"
    )
