"""What `orders-database-full` gives on PostgreSQL is what a disk gives that is full."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.integration.health.conditions import small_disk

from freehold_shop.faults.fault import Trouble
from freehold_shop.servers import RunningServer
from freehold_shop.servers.accounts import own, unprivileged_account
from freehold_shop.supervisor.accounts import provision
from freehold_shop.supervisor.databases import DatabaseTroubles

pytestmark = pytest.mark.servers
FILL = "INSERT INTO ware SELECT repeat('x', 2000) FROM generate_series(1, 100000)"


def refusal(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> str | None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    return caught.value.sqlstate


def test_the_fault_answers_as_a_full_disk_does(
    disposable_postgres: RunningServer, servers_directory: Path, tmp_path: Path
) -> None:
    url = disposable_postgres.url
    service_url = provision(url, ["orders"], tmp_path / "passwords.json")["orders"]
    troubles = DatabaseTroubles(url)
    with psycopg.connect(service_url, autocommit=True) as orders:
        orders.execute("CREATE TABLE ware (name text)")
        troubles.begin("orders", Trouble.FULL)
        by_fault = refusal(orders, FILL)
        assert refusal(orders, "DELETE FROM ware") == by_fault
        troubles.end("orders", Trouble.FULL)
        orders.execute("INSERT INTO ware VALUES ('a')")
    with small_disk(servers_directory / f"disk-{uuid4().hex[:8]}") as place:
        own(place, unprivileged_account(), 0o700)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(place))))
            admin.execute("CREATE TABLE ware (name text) TABLESPACE small")
            by_disk = refusal(admin, FILL)
            admin.execute("DROP TABLE ware")
            admin.execute("DROP TABLESPACE small")
    assert by_fault == by_disk == "53100"
