"""A replica in a table is read and repaired on each engine: odd keys, nothing in a field, booleans, other
collations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from freehold.adapters.sql.engine.connection import sql_of
from freehold.database import DatabaseTransaction
from freehold.ports import Stores
from freehold.reconcile import Dataset, Replica
from freehold.reconcile.dataset import FullRow
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.repair import ReplicaRepair
from freehold.reconcile.side import TableReader
from freehold.runtime.adapters import open_stores

PEOPLE = Dataset("crm.people", "person", ("name", "rank", "active"))
REPLICA = Replica(PEOPLE, "known", {"person": "id"})
KEYS = ["a", "A", "b", "_", "é", "\U0001f600", "a b", "a'b", "%", "\\", "\n", "~", "0", "10", "9"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/desk.db" if on_sqlite else request.getfixturevalue("postgres_url")
    stores = open_stores(url)
    await stores.database.open()
    # A key that people would sort otherwise than by its bytes.
    collation = "NOCASE" if on_sqlite else '"en-x-icu"'
    table = f"CREATE TABLE known (id VARCHAR(40) COLLATE {collation}, name VARCHAR(9), rank SMALLINT, active BOOLEAN)"
    async with stores.database.begin() as db_tx:
        await db_tx.native.execute(sa.text(table))
        await db_tx.native.execute(
            sa.text("CREATE UNIQUE INDEX known_id ON known (id COLLATE %s)" % ("BINARY" if on_sqlite else '"C"'))
        )
    yield stores
    await stores.database.close()


async def recorded(db_tx: DatabaseTransaction, keys: Sequence[str]) -> None:
    assert keys


async def put(stores: Stores, *rows: FullRow) -> None:
    async with stores.database.begin() as db_tx:
        for row in rows:
            await sql_of(db_tx).execute("INSERT INTO known VALUES ($1, $2, $3, $4)", row)


async def test_ranges_are_by_bytes(stores: Stores) -> None:
    """Whatever the column's own collation: page by page, each key once, in the order of every other engine."""
    await put(stores, *((key, None, 1, True) for key in KEYS))
    side = TableReader(stores[DATASETS], REPLICA)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        part = await side.digest(after, None, 4)
        rows = await side.keys(after, part.through, 100)
        assert part.count == len(rows)
        seen += [row.key for row in rows]
        after = part.through
    assert seen == sorted(KEYS, key=str.encode)
    assert [row[0] for row in await side.rows(["a", "é", "none"])] == ["a", "é"]


async def test_each_kind_of_drift_is_repaired(stores: Stores) -> None:
    await put(stores, ("a", "x", 1, True), ("A", "x", 1, True), ("b", None, None, None), ("c", None, 3, False))
    side = TableReader(stores[DATASETS], REPLICA)
    own = {str(row[0]): row for row in await side.rows(["a", "A", "b", "c"])}
    repair = ReplicaRepair(stores.database, stores[DATASETS], REPLICA, recorded)
    written = await repair.repair(
        {
            "a": (("a", None, None, None), own["a"]),
            "b": (("b", "y", 2, False), own["b"]),
            "c": (None, own["c"]),
            "é": (("é", None, 7, True), None),
        }
    )
    assert set(written) == {"a", "b", "c", "é"}
    assert await side.rows(["a", "A", "b", "c", "é"]) == [
        ("a", None, None, None),
        own["A"],
        ("b", "y", 2, False),
        ("é", None, 7, True),
    ]


async def test_a_row_that_was_changed_meanwhile_stays(stores: Stores) -> None:
    await put(stores, ("a", "new", 1, True), ("b", None, 1, True), ("c", "came", 1, True))
    repair = ReplicaRepair(stores.database, stores[DATASETS], REPLICA, recorded)
    found = {"a": ("a", "old", 1, True), "b": ("b", "x", 1, True), "c": None}
    right: dict[str, FullRow | None] = {"a": ("a", "r", 1, True), "b": None, "c": ("c", "r", 1, True)}
    assert await repair.repair({key: (right[key], found[key]) for key in found}) == []
    assert [row[1] for row in await TableReader(stores[DATASETS], REPLICA).rows(["a", "b", "c"])] == [
        "new",
        None,
        "came",
    ]
