"""The suite of datasets in a service's tables. Bind it with a `harness` fixture, see `freehold.conformance.harness`.
The suite creates the tables by SQL, which every engine with datasets has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import DatabaseError, DeclarationError
from freehold.ports import Stores
from freehold.reconcile import Dataset, FieldKind, Replica
from freehold.reconcile.dataset import FullRow
from freehold.reconcile.dataset_store import DATASETS
from freehold.sql import SQL, sql_of

__all__ = ["DatasetStoreConformance"]

_REPLICA: Final = Replica(
    Dataset("suite.people", "person", ("name", "standing", "active")), "suite_person", {"person": "id"}
)
_MAKE: Final = (
    "CREATE TABLE suite_person (id VARCHAR(40) NOT NULL PRIMARY KEY, name VARCHAR(40), standing BIGINT, active BOOLEAN)"
)
_ADD: Final = "INSERT INTO suite_person (id, name, standing, active) VALUES ($1, $2, $3, $4)"
_RENAME: Final = "UPDATE suite_person SET name = $2 WHERE id = $1"
_KINDS: Final = {"born": FieldKind.DATE, "price": FieldKind.DECIMAL, "weight": FieldKind.FLOAT, "notes": FieldKind.JSON}
_KEYS: Final = ("a", "B", "b", "_", "é", "\U0001f600", "a b", "a'b", "%", "\\", "~", "0", "10", "9")

Wrong = Mapping[str, tuple[FullRow | None, FullRow | None]]


class _TakeBack(Exception):
    """Rolls a block back."""


async def _filled(harness: StoresHarness, *rows: FullRow) -> Stores:
    async with harness.first[SQL].direct() as sql:
        await sql.execute(_MAKE)
    async with harness.first.database.begin() as db_tx:
        await sql_of(db_tx).execute_many(_ADD, rows)
    return harness.first


async def _repaired(stores: Stores, wrong: Wrong) -> set[str]:
    async with stores.database.begin() as db_tx:
        return set(await stores[DATASETS].repair(db_tx, _REPLICA, wrong))


async def _all(stores: Stores) -> dict[object, object]:
    return {row[0]: row[1] for row in await stores[DATASETS].page(_REPLICA, "", None, 100)}


class DatasetStoreConformance:
    """What every store of datasets must do."""

    async def test_pages_are_in_the_order_of_bytes(self, harness: StoresHarness) -> None:
        """Each key once, in no other collation; a range includes its last key."""
        store = (await _filled(harness, *((key, None, 1, True) for key in _KEYS)))[DATASETS]
        ordered = sorted(_KEYS, key=str.encode)
        seen: list[object] = []
        while page := await store.page(_REPLICA, str(seen[-1]) if seen else "", None, 4):
            assert len(page) <= 4
            seen += [row[0] for row in page]
        assert seen == ordered
        between = await store.page(_REPLICA, ordered[2], ordered[7], 100)
        assert [row[0] for row in between] == ordered[3:8]
        assert [row[0] for row in await store.page(_REPLICA, ordered[2], ordered[7], 2)] == ordered[3:5]

    async def test_rows_are_found_by_their_keys(self, harness: StoresHarness) -> None:
        """The existing ones, in the order of the given keys, with all fields; upper and lower case are different."""
        store = (await _filled(harness, ("a", "x", 1, True), ("B", None, None, None), ("b", "y", 2, False)))[DATASETS]
        assert await store.rows(_REPLICA, ["b", "none", "a", "A"]) == [("b", "y", 2, False), ("a", "x", 1, True)]
        assert await store.rows(_REPLICA, ["B"]) == [("B", None, None, None)]
        assert await store.rows(_REPLICA, []) == []

    async def test_values_come_and_go_in_one_form(self, harness: StoresHarness) -> None:
        """In the same form on every engine: a value of one engine can be written to another."""
        replica = Replica(Dataset("suite.things", "thing", tuple(_KINDS), kinds=_KINDS), "suite_thing")
        async with harness.first[SQL].direct() as sql:
            await sql.execute(
                "CREATE TABLE suite_thing (thing VARCHAR(40) NOT NULL PRIMARY KEY, born DATE, price DECIMAL(20, 4),"
                " weight DOUBLE PRECISION, notes TEXT)"
            )
        row: FullRow = ("a", "2026-03-01", "12.5", "0.1", '{"a":1,"b":[null,true]}')
        empty: FullRow = ("b", None, None, None, None)
        store = harness.first[DATASETS]
        async with harness.first.database.begin() as db_tx:
            assert len(await store.repair(db_tx, replica, {"a": (row, None), "b": (empty, None)})) == 2
        assert await store.page(replica, "", None, 10) == [row, empty]
        async with harness.first.database.begin() as db_tx:
            changed = (*row[:2], "-3", *row[3:])
            assert await store.repair(db_tx, replica, {"a": (changed, row)}) == ["a"]
        assert await store.rows(replica, ["a"]) == [changed]

    async def test_each_kind_of_drift_is_repaired(self, harness: StoresHarness) -> None:
        """A row that differs, an additional one, a missing one; other rows are not changed."""
        rows = [("a", "x", 1, True), ("b", None, None, None), ("c", None, 3, False), ("d", "y", 4, True)]
        stores = await _filled(harness, *rows)
        wrong: Wrong = {
            "a": (("a", None, None, None), rows[0]),
            "b": (("b", "z", 2, False), rows[1]),
            "c": (None, rows[2]),
            "é": (("é", None, 7, True), None),
        }
        assert await _repaired(stores, wrong) == set(wrong)
        assert await stores[DATASETS].page(_REPLICA, "", None, 10) == [
            ("a", None, None, None),
            ("b", "z", 2, False),
            ("d", "y", 4, True),
            ("é", None, 7, True),
        ]

    async def test_a_row_that_was_changed_meanwhile_stays(self, harness: StoresHarness) -> None:
        """A row that was changed, inserted or deleted is newer than the comparison."""
        stores = await _filled(harness, ("a", "new", 1, True), ("b", "new", 1, True), ("c", "came", 1, True))
        wrong: Wrong = {
            "a": (("a", "right", 1, True), ("a", "old", 1, True)),
            "b": (None, ("b", "old", 1, True)),
            "c": (("c", "right", 1, True), None),
            "d": (("d", "right", 1, True), ("d", "gone", 1, True)),
        }
        assert await _repaired(stores, wrong) == set()
        assert await _all(stores) == {"a": "new", "b": "new", "c": "came"}

    async def test_a_repair_belongs_to_its_transaction(self, harness: StoresHarness) -> None:
        """A rollback undoes it."""
        row = ("a", "x", 1, True)
        stores = await _filled(harness, row)
        with pytest.raises(_TakeBack):
            async with stores.database.begin() as db_tx:
                await stores[DATASETS].repair(db_tx, _REPLICA, {"a": (None, row), "b": (("b", "y", 2, True), None)})
                raise _TakeBack
        assert await _all(stores) == {"a": "x"}

    async def test_a_row_under_repair_is_held(self, harness: StoresHarness) -> None:
        """Until the repair's transaction ends; a concurrent write takes effect after it."""
        row = ("a", "old", 1, True)
        stores, other = await _filled(harness, row), await harness.instance()

        async def rename() -> None:
            async with other.database.begin() as db_tx:
                await sql_of(db_tx).execute(_RENAME, ("a", "newest"))

        async with stores.database.begin() as db_tx:
            await stores[DATASETS].repair(db_tx, _REPLICA, {"a": (("a", "right", 1, True), row)})
            renaming = asyncio.create_task(rename())
            assert await has_to_wait(renaming)
        async with asyncio.timeout(60):
            await renaming
        assert await _all(stores) == {"a": "newest"}

    async def test_a_row_that_is_being_changed_is_waited_for(self, harness: StoresHarness) -> None:
        """The repair reads the row after that change, and leaves it."""
        row = ("a", "old", 1, True)
        stores, other = await _filled(harness, row), await harness.instance()
        async with other.database.begin() as db_tx:
            await sql_of(db_tx).execute(_RENAME, ("a", "newest"))
            repairing = asyncio.create_task(_repaired(stores, {"a": (("a", "right", 1, True), row)}))
            assert await has_to_wait(repairing)
        async with asyncio.timeout(60):
            assert await repairing == set()
        assert await _all(stores) == {"a": "newest"}

    async def test_a_value_of_another_kind_is_refused(self, harness: StoresHarness) -> None:
        """The error names the field, and does not contain the value."""
        async with harness.first[SQL].direct() as sql:
            await sql.execute(
                "CREATE TABLE suite_thing (thing VARCHAR(40) NOT NULL PRIMARY KEY, weight DOUBLE PRECISION)"
            )
            await sql.execute("INSERT INTO suite_thing (thing, weight) VALUES ($1, $2)", ("a", 61.25))
        replica = Replica(Dataset("suite.things", "thing", ("weight",)), "suite_thing")
        with pytest.raises(DeclarationError, match=r"'weight' of dataset 'suite.things' has a float") as caught:
            await harness.first[DATASETS].page(replica, "", None, 10)
        assert "61" not in str(caught.value)

    async def test_keys_that_are_no_texts_are_refused(self, harness: StoresHarness) -> None:
        """They could not be compared."""
        async with harness.first[SQL].direct() as sql:
            await sql.execute("CREATE TABLE suite_thing (thing BIGINT NOT NULL PRIMARY KEY, name VARCHAR(40))")
            await sql.execute("INSERT INTO suite_thing (thing, name) VALUES ($1, $2)", (1, "one"))
        replica = Replica(Dataset("suite.things", "thing", ("name",)), "suite_thing")
        with pytest.raises((DeclarationError, DatabaseError)):
            await harness.first[DATASETS].page(replica, "", None, 10)

    async def test_a_table_that_is_not_there_is_an_error(self, harness: StoresHarness) -> None:
        """It is not an empty dataset: all rows would count as drift."""
        with pytest.raises(DatabaseError):
            await harness.first[DATASETS].page(_REPLICA, "", None, 10)
        with pytest.raises(DatabaseError):
            await harness.first[DATASETS].rows(_REPLICA, ["a"])
