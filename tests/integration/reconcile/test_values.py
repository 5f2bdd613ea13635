"""Values of every kind between SQLite and PostgreSQL: equal by digest on both, and brought over by a repair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from freehold.database import DatabaseOptions, DatabaseTransaction
from freehold.ports import Stores
from freehold.reconcile import Dataset, FieldKind, Replica
from freehold.reconcile.dataset import FullRow, RangeDigest
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.repair import ReplicaRepair
from freehold.reconcile.side import TableReader
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.servers

KINDS = {
    "moment": FieldKind.TIME,
    "day": FieldKind.DATE,
    "price": FieldKind.DECIMAL,
    "weight": FieldKind.FLOAT,
    "raw": FieldKind.BYTES,
    "document": FieldKind.JSON,
}
FIELDS = ("name", "number", "active", *KINDS)
THINGS = Dataset("store.things", "id", FIELDS, KINDS)
REPLICA = Replica(THINGS, "thing")
TABLE = sa.Table(
    "thing",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.String(40)),
    sa.Column("number", sa.BigInteger),
    sa.Column("active", sa.Boolean),
    sa.Column("moment", sa.DateTime(timezone=True)),
    sa.Column("day", sa.Date),
    sa.Column("price", sa.Numeric(14, 4)),
    sa.Column("weight", sa.Float),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("document", sa.JSON(none_as_null=True)),
)
_letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_texts = st.text(_letters, max_size=12)
_numbers = st.integers(-(10**15), 10**15) | st.floats(-(2.0**30), 2.0**30, width=32)
_documents = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
).filter(lambda found: found is not None and (isinstance(found, bool) or not isinstance(found, int | float)))
# A document that is nothing but a number becomes one in SQLite's column of type JSON, of fewer digits maybe.
_values: Mapping[str, st.SearchStrategy[Any]] = {
    "name": _texts,
    "number": st.integers(-(2**63), 2**63 - 1),
    "active": st.booleans(),
    "moment": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    "day": st.dates(),
    "price": st.decimals(-(10**9), 10**9, places=4, allow_nan=False),
    "weight": st.floats(allow_nan=False, allow_infinity=False),
    "raw": st.binary(max_size=12),
    "document": _documents,
}
_rows = st.dictionaries(
    st.text(_letters, min_size=1, max_size=6),
    st.fixed_dictionaries({name: st.none() | each for name, each in _values.items()}),
    min_size=1,
    max_size=5,
)


@asynccontextmanager
async def _engines(urls: Sequence[str]) -> AsyncIterator[Sequence[Stores]]:
    async with AsyncExitStack() as stack:
        opened = [open_stores(url, DatabaseOptions(pool_size=1)) for url in urls]
        for stores in opened:
            await stores.database.open()
            stack.push_async_callback(stores.database.close)
            async with stores.database.begin() as db_tx:
                await db_tx.native.run_sync(TABLE.metadata.create_all)
        yield opened


async def _put(stores: Stores, rows: Mapping[str, Mapping[str, Any]]) -> None:
    async with stores.database.begin() as db_tx:
        await db_tx.native.execute(TABLE.delete())
        for key, row in rows.items():
            await db_tx.native.execute(TABLE.insert().values(id=key, **row))


async def _user_reads(stores: Stores) -> list[Any]:
    """As the service itself does, through SQLAlchemy."""
    async with stores.database.begin() as db_tx:
        rows = (await db_tx.native.execute(sa.select(TABLE))).mappings().all()
    found = [{**row, "moment": row["moment"] and row["moment"].replace(tzinfo=None)} for row in rows]
    return sorted(found, key=lambda row: row["id"].encode())


async def _recorded(_db_tx: DatabaseTransaction, _keys: Sequence[str]) -> None:
    return


async def _repair(source: Stores, replica: Stores) -> None:
    """Make the replica what the source is, whatever is in it."""
    sides = [TableReader(each[DATASETS], REPLICA) for each in (source, replica)]
    keys = {row.key for side in sides for row in await side.keys("", None, 100)}
    right, own = [{str(row[0]): row for row in await side.rows(sorted(keys))} for side in sides]
    wrong: dict[str, tuple[FullRow | None, FullRow | None]] = {
        key: (right.get(key), own.get(key)) for key in sorted(keys) if right.get(key) != own.get(key)
    }
    written = await ReplicaRepair(replica.database, replica[DATASETS], REPLICA, _recorded).repair(wrong)
    assert set(written) == set(wrong)


@settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(first=_rows, second=_rows)
def test_values_of_every_kind_are_equal_and_arrive(
    tmp_path: Path, postgres_url: str, first: dict[str, dict[str, Any]], second: dict[str, dict[str, Any]]
) -> None:
    """In both directions: into nothing, and over other values."""

    async def check() -> None:
        async with _engines([f"sqlite:///{tmp_path}/a.db", postgres_url]) as engines:
            await _there_and_back(engines, first, second)

    asyncio.run(check())


async def _there_and_back(engines: Sequence[Stores], first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    sqlite, postgres = engines
    for source, replica in ((sqlite, postgres), (postgres, sqlite)):
        await _put(sqlite, first)
        await _put(postgres, first)
        assert await _digest(source) == await _digest(replica)
        await _put(source, second)
        await _repair(source, replica)
        assert await _digest(source) == await _digest(replica)
        assert await _user_reads(replica) == await _user_reads(source)


async def _digest(stores: Stores) -> RangeDigest:
    return await TableReader(stores[DATASETS], REPLICA).digest("", None, 100)
