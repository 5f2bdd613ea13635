"""A service on MariaDB whose user may make nothing, with what `freehold db grants` prints and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from tests.integration.runtime.clinic import ADMITTED, SEEN, Admit, Care, Case, Seen, clinic
from tests.mariadb import run_on

from freehold import RunningService, Settings
from freehold.conformance.broker_harness import eventually
from freehold.context import ServiceContext
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import ConfigurationError, DatabaseError, PermissionDenied
from freehold.ports import Stores
from freehold.projection.replay import TimeRange
from freehold.runtime import DeadLetterActions, ProjectionOperations, ReplayOperations
from freehold.runtime.adapters import open_stores
from freehold.runtime.database_schema import prepare
from freehold.runtime.patterns import PATTERNS
from freehold.saga.store import SAGAS, TERMINAL_STATUSES
from freehold.sql import SQL

pytestmark = [pytest.mark.servers, pytest.mark.empty_database]
WHO: dict[str, Any] = {"actor": "test", "reason": "test"}


@dataclass(frozen=True)
class Place:
    """A database with its owner, and a user for the service."""

    owner_url: str
    url: str
    user: str

    def settings(self, **changes: Any) -> Settings:
        return Settings.load(
            "clinic", environ={}, database=self.url, broker=f"memory://{self.user}",
            **{"migrate_on_start": False, "poll_seconds": 0.1, **changes},
        )  # fmt: skip


@pytest.fixture
def place(mariadb_url: str) -> Iterator[Place]:
    user = f"clerk-{uuid4().hex[:8]}"
    asyncio.run(run_on(mariadb_url, f"CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"))
    yield Place(mariadb_url, _as_user(mariadb_url, user), user)
    asyncio.run(run_on(mariadb_url, f"DROP USER '{user}'@'%'"))


def _as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:pw@{parts.hostname}:{parts.port}").geturl()


@asynccontextmanager
async def _owner(place: Place) -> AsyncIterator[Stores]:
    stores = open_stores(place.owner_url, migrations=clinic.migrations)
    await stores.database.open()
    yield stores
    await stores.database.close()


async def _prepared(place: Place) -> None:
    """Upgraded by the owner, granted to the user."""
    async with _owner(place) as stores:
        await stores.database.upgrade()
        await prepare(ServiceContext("clinic", stores, declared=clinic.of), PATTERNS)
        await run_on(place.owner_url, *await stores.database.grants(place.user))


async def test_a_user_without_ddl_runs_everything(place: Place) -> None:
    """Outbox, inbox, events, projections beside and inline, a saga, a schedule, a view that is refreshed, dead letters
    and a replay into the live read model: with SELECT to DELETE on rows alone.
    """
    await _prepared(place)
    async with RunningService(clinic, place.settings()) as running, asyncio.timeout(90):
        async with running.transaction() as tx:
            tx.send(Admit("ada"))
            tx.send(Admit("bob", fails=True))
            tx.schedule(Admit("cay"), delay_seconds=0.05)
            await Care.start(tx, Case("dan"))
        await eventually(lambda: _has_come(running, ["ada", "cay", "dan"]))

        async def is_cared_for() -> bool:
            counts = await running.stores[SAGAS].count()
            return any(status in TERMINAL_STATUSES for _, status in counts)

        await eventually(is_cared_for)
        letters = DeadLetterActions(running.context)

        async def is_dead() -> bool:
            return bool(await letters.find(DeadLetterFilter()))

        await eventually(is_dead)
        (letter,) = await letters.find(DeadLetterFilter())
        await letters.edit(letter.id, b'{"name": "bob", "fails": false}', **WHO)
        await letters.replay(letter.id, **WHO)
        await eventually(lambda: _has_come(running, ["ada", "bob", "cay", "dan"]))
        replays = ReplayOperations(ProjectionOperations(running.context))
        begun = await replays.begin("seen", TimeRange(None, datetime(2000, 1, 1, tzinfo=UTC)), "live", **WHO)
        assert [each async for each in replays.steps(begun)][-1].state.value == "done"
        assert not [each.last_error for each in running.loops.all() if each.last_error is not None]
        assert (await running.readiness()).ready


async def _has_come(running: RunningService, names: list[str]) -> bool:
    """Everywhere: the table, the bed by the event, both read models, the view."""
    async with running.stores[SQL].direct() as sql:
        patients = [row[0] for row in await sql.fetch("SELECT name FROM patient ORDER BY name")]
        others = [len(await sql.fetch(f"SELECT * FROM {each}")) for each in ("bed", SEEN.name, ADMITTED.name, "visits")]
    return patients == names and set(others) == {len(names)}


async def test_what_makes_tables_by_nature_is_refused(place: Place) -> None:
    await _prepared(place)
    async with RunningService(clinic, place.settings()) as running, asyncio.timeout(60):
        with pytest.raises(PermissionDenied, match="the right CREATE on") as caught:
            await ProjectionOperations(running.context).rebuild("seen", **WHO)
        assert "freehold db grants" in caught.value.hint
        assert isinstance(caught.value, DatabaseError)


async def test_an_owner_rebuilds_for_a_user_that_may_not(place: Place) -> None:
    await _prepared(place)
    async with (
        RunningService(clinic, place.settings()) as running,
        _owner(place) as owner,
        asyncio.timeout(60),
    ):
        async with running.transaction() as tx:
            tx.append("patient-ada", Seen("ada"))
        actions = ProjectionOperations(ServiceContext("clinic", owner, declared=clinic.of))
        await actions.rebuild("seen", **WHO)

        async def has_rows(table: str, number: int) -> bool:
            async with running.stores[SQL].direct() as sql:
                return len(await sql.fetch(f"SELECT * FROM {table}")) == number

        await eventually(lambda: has_rows("seen__g2", 1))
        await actions.switch("seen", **WHO)
        async with running.transaction() as tx:
            tx.append("patient-bob", Seen("bob"))
        await eventually(lambda: has_rows("seen", 2))
        await actions.drop("seen", 1, **WHO)


async def test_a_start_that_is_not_prepared_says_so(place: Place) -> None:
    async with _owner(place) as stores:
        await stores.database.upgrade()
        await run_on(place.owner_url, *await stores.database.grants(place.user))
    with pytest.raises(PermissionDenied) as caught:
        async with RunningService(clinic, place.settings()):
            pass
    assert "freehold db upgrade" in caught.value.hint


async def test_doctor_names_the_right_and_the_table_that_are_missing(place: Place) -> None:
    await _prepared(place)
    granted = await _findings(place)
    assert granted["rights"] == (True, "has all rights that run time needs")
    assert granted["making tables"][0]
    assert "not permitted in database" in granted["making tables"][1]
    # A right on a database cannot be taken away for one of its tables: they are granted table by table here.
    database = place.owner_url.rpartition("/")[2].replace("_", r"\_")
    tables = [row[0] for row in await run_on(place.owner_url, "SHOW TABLES")]
    kept = [table for table in tables if table not in {"freehold_inbox", "freehold_saga"}]
    await run_on(
        place.owner_url,
        f"REVOKE ALL ON `{database}`.* FROM '{place.user}'@'%'",
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO '{place.user}'@'%'" for table in kept),
        f"GRANT SELECT, INSERT, UPDATE ON freehold_inbox TO '{place.user}'@'%'",
    )
    assert (await _findings(place))["rights"] == (
        False,
        "missing: DELETE on freehold_inbox, SELECT on freehold_saga, INSERT on freehold_saga, DELETE on freehold_saga",
    )


async def test_rights_that_come_through_a_role_are_found(place: Place) -> None:
    async with _owner(place) as stores:
        await stores.database.upgrade()
        (grant,) = await stores.database.grants(place.user)
    role = f"role_{place.user[-8:]}"
    to_role = grant.replace(f"'{place.user}'@'%'", role)
    user = f"'{place.user}'@'%'"
    try:
        await run_on(place.owner_url, f"CREATE ROLE {role}", to_role, f"GRANT {role} TO {user}")
        await run_on(place.owner_url, f"SET DEFAULT ROLE {role} FOR {user}")
        assert (await _findings(place))["rights"][0]
    finally:
        await run_on(place.owner_url, f"DROP ROLE IF EXISTS {role}")


async def test_no_service_reads_or_writes_anothers_database(mariadb_url: str) -> None:
    """Three services on one server, each with a database and a user of its own: each pair of them, each right."""
    names = [f"shop_{uuid4().hex[:8]}" for _ in range(3)]
    urls = {name: f"{mariadb_url.rpartition('/')[0]}/{name}" for name in names}
    try:
        for name in names:
            await run_on(mariadb_url, f"CREATE DATABASE {name}", f"CREATE USER {name} IDENTIFIED BY 'pw'")
            stores = open_stores(urls[name])
            await stores.database.open()
            await stores.database.upgrade()
            await run_on(mariadb_url, *await stores.database.grants(name))
            await stores.database.close()
        for own, other in permutations(names, 2):
            stores = open_stores(_as_user(urls[own], own))
            await stores.database.open()
            for statement in (
                f"SELECT * FROM {other}.freehold_outbox",
                f"INSERT INTO {other}.freehold_outbox_watermark (`partition`, position) VALUES (1, 1)",
                f"UPDATE {other}.freehold_saga SET status = 'x'",
                f"DELETE FROM {other}.freehold_inbox",
                f"CREATE TABLE {other}.intruder (id INT)",
                f"DROP TABLE {other}.freehold_event",
                f"LOCK TABLES {other}.freehold_event WRITE",
            ):
                with pytest.raises((PermissionDenied, ConfigurationError)):
                    async with stores[SQL].direct() as sql:
                        await sql.execute(statement)
            await stores.database.close()
            with pytest.raises(ConfigurationError):
                await open_stores(_as_user(urls[other], own)).database.open()
    finally:
        for name in names:
            await run_on(mariadb_url, f"DROP USER IF EXISTS {name}", f"DROP DATABASE IF EXISTS {name}")


async def _findings(place: Place) -> dict[str, tuple[bool, str]]:
    stores = open_stores(place.url)
    await stores.database.open()
    found = {each.subject: (each.ok, each.detail) for each in await stores.database.run_checks()}
    await stores.database.close()
    return found
