"""The shop with users on PostgreSQL, the other services on MariaDB, and two processes of orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncmy
import pytest
from tests.integration.shop.ops.conftest import run_shop
from tests.integration.shop.ops.customers import came_back, ended, get, place, post, until

from freehold_shop.servers import find_mariadb, find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Checkout, Plan, Profile, parse_engines
from freehold_shop.verify.run import Target, verify

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def with_mariadb(servers_directory: Path) -> Iterator[Shop]:
    """A shop on servers of its own."""
    try:
        find_postgres_binaries()
        find_mariadb()
        find_nats_server()
    except ServerUnavailable as error:
        pytest.skip(f"left out: {error}")
    engines = parse_engines(["all=mariadb", "users=postgresql"])
    plan = Plan(servers_directory / "mixed", profile=Profile.SERVERS, engines=engines, instances={"orders": 2})
    yield from run_shop(plan)


async def _rows(shop: Shop, sql: str, *, service: str = "orders") -> list[tuple[str, ...]]:
    """Run a statement as the user of a service."""
    place = urlsplit(shop.databases[service])
    connection = await asyncmy.connect(
        host=place.hostname, port=place.port, user=place.username, password=place.password, db=place.path[1:]
    )
    try:
        cursor = connection.cursor()
        await cursor.execute(sql)
        return list(await cursor.fetchall())
    finally:
        connection.close()


async def _return_one(shop: Shop, order_id: str) -> None:
    """Return the goods of an order, and wait until that is done."""
    _, placed = await get(f"{shop.gateway_url}/orders/{order_id}")
    lines = [{"sku": placed["lines"][0]["sku"], "quantity": 1}]
    wanted = {"return_ref": f"back-{order_id}", "customer_id": placed["customer_id"], "lines": lines}
    for expected in (201, 200):
        status, answer = await post(f"{shop.gateway_url}/returns", wanted)
        assert status == expected, answer

    async def completed() -> bool:
        return bool((await get(f"{shop.gateway_url}/returns/back-{order_id}"))[1]["status"] == "completed")

    await until(completed, "the return is completed")


async def test_orders_on_mariadb_are_confirmed_and_returned_also_after_kills_and_the_shop_is_right(
    with_mariadb: Shop,
) -> None:
    assert with_mariadb.engine("orders") == "mariadb"
    assert with_mariadb.engine("users") == "postgresql"
    before = [await place(with_mariadb) for _ in range(5)]
    assert await ended(with_mariadb, before) == {"confirmed"}
    await _return_one(with_mariadb, before[0])
    meanwhile = [await place(with_mariadb) for _ in range(3)]
    await came_back(with_mariadb, with_mariadb.kill("orders"))
    assert await ended(with_mariadb, meanwhile) == {"confirmed"}
    await _verified(with_mariadb)


async def test_the_user_of_orders_has_rights_on_its_own_database_only(with_mariadb: Shop) -> None:
    assert await _rows(with_mariadb, "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES") == [("USAGE",)]
    schemas = await _rows(with_mariadb, "SELECT DISTINCT TABLE_SCHEMA FROM information_schema.SCHEMA_PRIVILEGES")
    assert schemas == [(r"shop\_orders",)]


async def test_two_processes_of_orders_share_its_work_and_keep_the_order_of_each_key(with_mariadb: Shop) -> None:
    order_ids = [await place(with_mariadb, checkout=checkout) for checkout in Checkout for _ in range(8)]
    assert await ended(with_mariadb, order_ids) == {"confirmed"}

    async def shared() -> bool:
        return all([await _owners(with_mariadb, names) == 2 for names in ("outbox/%", "projection/order-summary/%")])

    await until(shared, "both processes have partitions of the outbox and of a read model")
    await _verified(with_mariadb)
    # What was published of an order arrives as it was decided, whichever process has published it.
    kept = await _rows(
        with_mariadb,
        "SELECT stream, hlc FROM freehold_event WHERE type LIKE 'orders.%' AND category = 'order'"
        " ORDER BY stream, version",
        service="overview",
    )
    assert len({stream for stream, _ in kept}) >= len(order_ids)
    assert kept == sorted(kept)


async def test_a_server_that_is_killed_under_orders_comes_back_and_nothing_is_lost(with_mariadb: Shop) -> None:
    before = [await place(with_mariadb, checkout=checkout) for checkout in Checkout]
    await with_mariadb.break_("orders-database-crash")
    after = [await place(with_mariadb, checkout=checkout) for checkout in Checkout]
    assert await ended(with_mariadb, [*before, *after]) == {"confirmed"}
    await _verified(with_mariadb)


async def _owners(shop: Shop, names: str) -> int:
    """How many processes have leases with such names, but for those of the members themselves."""
    query = f"SELECT DISTINCT owner FROM freehold_lease WHERE owner <> '' AND name LIKE '{names}'"
    return len(await _rows(shop, f"{query} AND name NOT LIKE '%member%'"))


async def _verified(shop: Shop) -> None:
    target = Target(shop.databases, shop.broker_url, shop.provider_url)
    verified = (await verify(target, wait_seconds=60)).verification
    assert verified.ok, [each for each in verified.checks if not each.ok]
