"""The shop with users on PostgreSQL and the other services on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncmy
import pytest
from tests.integration.shop.ops.conftest import run_shop
from tests.integration.shop.ops.customers import came_back, ended, get, place, post, until

from freehold.errors import ConfigurationError
from freehold_shop.servers import find_mariadb, find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Plan, Profile, parse_engines
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
    plan = Plan(servers_directory / "mixed", profile=Profile.SERVERS, engines=engines)
    yield from run_shop(plan)


async def _rows(shop: Shop, sql: str) -> list[tuple[str, ...]]:
    """Run a statement as the user of orders."""
    place = urlsplit(shop.databases["orders"])
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
    target = Target(with_mariadb.databases, with_mariadb.broker_url, with_mariadb.provider_url)
    verified = (await verify(target, wait_seconds=60)).verification
    assert verified.ok, [each for each in verified.checks if not each.ok]


async def test_the_user_of_orders_has_rights_on_its_own_database_only(with_mariadb: Shop) -> None:
    assert await _rows(with_mariadb, "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES") == [("USAGE",)]
    schemas = await _rows(with_mariadb, "SELECT DISTINCT TABLE_SCHEMA FROM information_schema.SCHEMA_PRIVILEGES")
    assert schemas == [(r"shop\_orders",)]


async def test_a_fault_of_a_database_on_mariadb_is_refused_with_the_reason(with_mariadb: Shop) -> None:
    with pytest.raises(ConfigurationError, match="orders is on mariadb"):
        await with_mariadb.break_("orders-database-down")
