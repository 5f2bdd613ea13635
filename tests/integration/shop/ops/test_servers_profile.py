"""The shop on real servers: each role reaches its own database alone, and the servers' outages end well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.integration.shop.ops.conftest import run_shop
from tests.integration.shop.ops.customers import came_back, ended, others_serve, place

from freehold.broker import OPERATOR
from freehold_shop.servers import find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.accounts import database_name
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Plan, Profile

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def on_servers(servers_directory: Path) -> Iterator[Shop]:
    """A shop on a PostgreSQL and a NATS of its own."""
    try:
        find_postgres_binaries()
        find_nats_server()
    except ServerUnavailable as error:
        pytest.skip(f"left out: {error}")
    yield from run_shop(Plan(servers_directory / "shop", profile=Profile.SERVERS))


def connects(url: str, database: str) -> bool:
    try:
        with psycopg.connect(url.rpartition("/")[0] + f"/{database}", connect_timeout=60):
            return True
    except psycopg.OperationalError as error:
        if "permission denied for database" in str(error):
            return False
        raise


def test_every_role_reaches_its_own_database_and_no_other(on_servers: Shop) -> None:
    services = list(on_servers.databases)
    databases = [*(database_name(service) for service in services), "postgres", "template1"]
    reached = {
        (service, database)
        for service, database in product(services, databases)
        if connects(on_servers.databases[service], database)
    }
    assert reached == {(service, database_name(service)) for service in services}


def test_every_service_has_a_password_of_its_own_that_is_shown_nowhere(on_servers: Shop) -> None:
    services = set(on_servers.databases)
    of_databases = {urlsplit(url).password or "" for url in on_servers.databases.values()}
    of_broker = json.loads((on_servers.state_directory / "broker-passwords.json").read_text())
    assert set(of_broker) == services | {OPERATOR}
    passwords = of_databases | set(of_broker.values())
    assert len(passwords) == 2 * len(services) + 1
    shown = "".join(
        path.read_text(errors="replace")
        for path in [on_servers.state_directory / "state.json", *(on_servers.state_directory / "logs").iterdir()]
    )
    assert not any(password in shown for password in passwords)
    readable = [path for path in on_servers.state_directory.rglob("*pass*") if path.stat().st_mode & 0o077]
    assert readable == []


def test_the_pools_leave_room_on_the_server(on_servers: Shop) -> None:
    with psycopg.connect(on_servers.databases["users"]) as connection:
        found = connection.execute("SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity")
        used, most = found.fetchone() or (0, 0)
    assert used < most * 0.8


@pytest.mark.parametrize("fault", ["broker-down", "orders-database-down", "orders-crash"])
async def test_other_services_serve_through_an_outage_and_all_ends_well(on_servers: Shop, fault: str) -> None:
    before = await place(on_servers)
    await on_servers.break_(fault)
    await others_serve(on_servers, without="" if fault == "broker-down" else "orders")
    meanwhile = [await place(on_servers)] if fault == "broker-down" else []
    await on_servers.heal()
    after = await place(on_servers)
    assert await ended(on_servers, [before, *meanwhile, after]) == {"confirmed"}


async def test_poison_and_duplicates_do_no_harm(on_servers: Shop) -> None:
    await on_servers.break_("duplicate-messages")
    await on_servers.break_("poison-message")
    order_ids = [await place(on_servers) for _ in range(5)]
    assert await ended(on_servers, order_ids) == {"confirmed"}
    await on_servers.heal()


async def test_all_services_killed_at_once_come_back(on_servers: Shop) -> None:
    order_ids = [await place(on_servers) for _ in range(5)]
    await came_back(on_servers, on_servers.kill_all())
    assert await ended(on_servers, order_ids) == {"confirmed"}
