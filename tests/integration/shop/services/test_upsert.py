"""Inserts that meet an existing row, in the services that use them, on each engine."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import select
from tests.integration.shop.services.conftest import Opener

from freehold.errors import DatabaseError
from freehold.runtime import RunningService
from freehold_shop.catalog.service import ProductData, change_product, list_products
from freehold_shop.catalog.tables import product
from freehold_shop.copies import keep_country, keep_customer
from freehold_shop.reference.contracts import CountryDefined
from freehold_shop.reference.service import define_all
from freehold_shop.upsert import insert_once
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

CUSTOMER = CustomerRegistered("c1", "N", "n@example.org", "GB", "A", 2)
_INSERT = "INSERT INTO product (sku, description, price_pence, currency, revision) VALUES ($1, $2, $3, $4, $5)"


async def _list(running: RunningService, skus: Sequence[str]) -> int:
    return await running.transact(lambda tx: list_products(tx, [ProductData(sku, "D", 5, "GBP") for sku in skus]))


async def _skus(running: RunningService) -> list[str]:
    async with running.transaction() as tx:
        return list((await tx.connection.execute(select(product.c.sku).order_by(product.c.sku))).scalars())


async def test_rows_that_exist_stay_and_the_others_are_inserted(opened: Opener) -> None:
    async with opened("catalog") as running:
        assert await _list(running, ["B", "D"]) == 2
        assert await _list(running, ["A", "B", "C", "D"]) == 2
        assert await _list(running, ["A", "B"]) == 0
        assert await _skus(running) == ["A", "B", "C", "D"]


async def test_each_row_is_inserted_by_one_of_many_at_once(opened: Opener) -> None:
    async with opened("catalog") as running:
        wanted = [[f"S{number:02}" for number in range(first, first + 12)] for first in (0, 4, 8, 0, 4, 8)]
        listed = await asyncio.gather(*(_list(running, skus) for skus in wanted))
        assert await _skus(running) == [f"S{number:02}" for number in range(20)]
        assert sum(listed) == 20
        async with running.transaction() as tx:
            published = await tx.sql.fetch("SELECT count(*) FROM freehold_outbox")
        assert published[0][0] == 20


async def test_an_insert_once_tells_whether_the_row_was_there(opened: Opener) -> None:
    async with opened("catalog") as running:
        rows = [("A", "D", 5, "GBP", 1), ("A", "other", 6, "GBP", 1), ("a", "D", 5, "GBP", 1), ("A ", "D", 5, "GBP", 1)]
        async with running.transaction() as tx:
            assert [await insert_once(tx, _INSERT, row) for row in rows] == [True, False, True, True]
            found = await tx.sql.fetch("SELECT description FROM product WHERE sku = $1", ("A",))
        assert [tuple(row) for row in found] == [("D",)]


async def test_another_error_than_an_existing_row_is_raised(opened: Opener) -> None:
    async with opened("catalog") as running:
        with pytest.raises(DatabaseError):
            async with running.transaction() as tx:
                await insert_once(tx, _INSERT, ("A", "D", 0, "GBP", 1))
        assert await _skus(running) == []


async def test_a_change_counts_the_revision_and_misses_what_is_not_there(opened: Opener) -> None:
    async with opened("catalog") as running:
        await _list(running, ["A"])
        changed = ProductData("A", "D", 5, "GBP")
        assert [await running.transact(lambda tx: change_product(tx, changed)) for _ in range(2)] == [True, True]
        missing = ProductData("B", "D", 5, "GBP")
        assert not await running.transact(lambda tx: change_product(tx, missing))
        async with running.transaction() as tx:
            assert (await tx.connection.execute(select(product.c.revision))).scalar_one() == 3


async def test_an_older_revision_changes_no_replica(opened: Opener) -> None:
    async with opened("orders") as running:
        news = (
            CUSTOMER,
            UserUpdated("c1", "old", "o@example.org", "FR", "O", 1),
            UserUpdated("c1", "same", "s@example.org", "FR", "S", 2),
            UserUpdated("c1", "new", "new@example.org", "DE", "B", 3),
        )
        names = []
        for each in news:
            await running.transact(partial(keep_customer, facts=each))
            async with running.transaction() as tx:
                rows = await tx.sql.fetch("SELECT name, email, country, address, revision FROM customer_copy")
            names.append(tuple(rows[0]))
        assert names == [
            ("N", "n@example.org", "GB", "A", 2),
            ("N", "n@example.org", "GB", "A", 2),
            ("N", "n@example.org", "GB", "A", 2),
            ("new", "new@example.org", "DE", "B", 3),
        ]


async def test_the_last_news_of_a_country_wins(opened: Opener) -> None:
    async with opened("users") as running:
        for name in ("Albion", "Great Britain"):
            await running.transact(partial(keep_country, event=CountryDefined("GB", name, "GBP")))
        async with running.transaction() as tx:
            rows = await tx.sql.fetch("SELECT code, name, currency FROM country_copy")
        assert [tuple(row) for row in rows] == [("GB", "Great Britain", "GBP")]


async def test_countries_are_defined_once_also_by_two_at_once(opened: Opener) -> None:
    async with opened("reference") as running:
        await asyncio.gather(running.transact(define_all), running.transact(define_all))
        await running.transact(define_all)
        async with running.transaction() as tx:
            defined = (await tx.sql.fetch("SELECT count(*) FROM country"))[0][0]
            currencies = (await tx.sql.fetch("SELECT count(*) FROM currency"))[0][0]
            published = (await tx.sql.fetch("SELECT count(*) FROM freehold_outbox"))[0][0]
        assert published == defined + currencies
