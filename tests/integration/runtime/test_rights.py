"""A service whose role owns nothing and may make nothing, with what `freehold db grants` prints and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.integration.runtime.clinic import (
    ADMITTED,
    APP,
    SEEN,
    Admit,
    Care,
    Case,
    Seen,
    clinic,
)
from tests.unit.cli.typing_in import Typed, typist

from freehold import ConfigurationError, Projection, RunningService, Service, Settings
from freehold.conformance.broker_harness import eventually
from freehold.context import ServiceContext
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import DatabaseError, PermissionDenied
from freehold.projection.replay import TimeRange
from freehold.runtime import DeadLetterActions, ProjectionOperations, ReplayOperations
from freehold.runtime.adapters import open_stores
from freehold.saga.store import SAGAS, TERMINAL_STATUSES
from freehold.sql import SQL

pytestmark = [pytest.mark.servers, pytest.mark.empty_database]
WHO: dict[str, Any] = {"actor": "test", "reason": "test"}


@dataclass(frozen=True)
class Place:
    """A database with the role that owns its schema, and the one that the service runs as."""

    admin_url: str
    owner_url: str
    url: str
    role: str
    schema: str
    typed: Typed
    monkeypatch: pytest.MonkeyPatch

    def as_owner(self, *arguments: object) -> Any:
        """Type a command with the owner's connection."""
        self.monkeypatch.setenv("FREEHOLD_CLINIC_DATABASE", self.owner_url)
        return self.typed("--app", APP, *arguments)

    def as_role(self, *arguments: object) -> Any:
        """Type a command with the connection that the service has."""
        self.monkeypatch.setenv("FREEHOLD_CLINIC_DATABASE", self.url)
        return self.typed("--app", APP, *arguments)

    def grant(self) -> None:
        """Carry out what `freehold db grants` prints, line by line, as the owner."""
        printed = self.as_owner("db", "grants", "--role", self.role)
        assert printed.code == 0
        with self.connect(self.owner_url) as connection:
            for statement in printed.out.splitlines():
                assert statement.endswith(";")
                connection.execute(statement.encode())

    def execute(self, statement: str) -> None:
        """A statement of the administrator's."""
        with self.connect(self.admin_url) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def connect(self, url: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection that finds the service's schema first."""
        with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
            if self.schema != "public":
                connection.execute(f"SET search_path TO {self.schema}, public".encode())
            yield connection

    def settings(self, **changes: Any) -> Settings:
        return Settings.load(
            "clinic", environ={}, database=self.url, broker=f"memory://{self.role}",
            **{"migrate_on_start": False, "poll_seconds": 0.1, **changes},
        )  # fmt: skip


@pytest.fixture(params=[None, "wards"])
def place(
    request: pytest.FixtureRequest,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FREEHOLD_SETTINGS", raising=False)
    monkeypatch.delenv("FREEHOLD_APP", raising=False)
    monkeypatch.setenv("FREEHOLD_BROKER", "memory://")
    mark = uuid4().hex[:8]
    # Names that must be quoted.
    owner, role = f"Owner-{mark}", f'The "role" {mark}'
    name = sql.Identifier(postgres_url.rpartition("/")[2])
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for each in (owner, role):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw'").format(sql.Identifier(each)))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(owner)))
    owner_url, url = (_url(postgres_url, each, request.param) for each in (owner, role))
    yield Place(postgres_url, owner_url, url, role, request.param or "public", typist(capsys), monkeypatch)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))
        for each in (role, owner):
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(each)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(each)))


def _url(admin_url: str, role: str, schema: str | None) -> str:
    parts = conninfo_to_dict(admin_url)
    return f"postgresql://{quote(role)}:pw@{parts['host']}:{parts['port']}/{parts['dbname']}" + (
        f"?schema={schema}" if schema else ""
    )


@pytest.fixture
def prepared(place: Place) -> Place:
    """Upgraded by the owner, granted to the role."""
    assert place.as_owner("db", "upgrade").code == 0
    place.grant()
    return place


async def _until(look: Callable[[], Awaitable[object]]) -> None:
    async def found() -> bool:
        return bool(await look())

    await eventually(found)


async def _rows(running: RunningService, statement: str) -> list[Any]:
    async with running.stores[SQL].direct() as direct:
        return [tuple(row) for row in await direct.fetch(statement)]


async def test_a_role_without_ddl_runs_everything(prepared: Place) -> None:
    """Outbox, inbox, events, projections beside and inline, a saga, a schedule, a view that is refreshed, dead letters
    and a replay into the live read model, snapshots of nothing missing: with SELECT to DELETE on rows alone.
    """
    async with RunningService(clinic, prepared.settings()) as running, asyncio.timeout(90):
        async with running.transaction() as tx:
            tx.send(Admit("ada"))
            tx.send(Admit("bob", fails=True))
            tx.schedule(Admit("cay"), delay_seconds=0.05)
            await Care.start(tx, Case("dan"))
        await _until(lambda: _has_come(running, ["ada", "cay", "dan"]))

        async def is_cared_for() -> bool:
            counts = await running.stores[SAGAS].count()
            return any(status in TERMINAL_STATUSES for _, status in counts)

        await eventually(is_cared_for)
        letters = DeadLetterActions(running.context)
        await _until(lambda: letters.find(DeadLetterFilter()))
        (letter,) = await letters.find(DeadLetterFilter())
        await letters.edit(letter.id, b'{"name": "bob", "fails": false}', **WHO)
        await letters.replay(letter.id, **WHO)
        await _until(lambda: _has_come(running, ["ada", "bob", "cay", "dan"]))
        actions = ProjectionOperations(running.context)
        assert await actions.pause("seen", **WHO)
        await actions.resume("seen", **WHO)
        replays = ReplayOperations(actions)
        begun = await replays.begin("seen", TimeRange(None, datetime(2000, 1, 1, tzinfo=UTC)), "live", **WHO)
        assert [each async for each in replays.steps(begun)][-1].state.value == "done"
        assert not [each.last_error for each in running.loops.all() if each.last_error is not None]
        assert (await running.readiness()).ready


async def _has_come(running: RunningService, names: list[str]) -> bool:
    """Everywhere: the table, the bed by the event, both read models, the materialized view."""
    patients = [row[0] for row in await _rows(running, "SELECT name FROM patient ORDER BY name")]
    beds = await _rows(running, "SELECT name FROM bed")
    seen, at_once, view = [
        await _rows(running, f"SELECT * FROM {name}") for name in (SEEN.name, ADMITTED.name, "visits")
    ]
    return patients == names and {len(beds), len(seen), len(at_once), len(view)} == {len(names)}


async def test_what_makes_tables_by_nature_is_refused_and_the_right_is_named(
    prepared: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with RunningService(clinic, prepared.settings()) as running, asyncio.timeout(60):
        actions = ProjectionOperations(running.context)
        with pytest.raises(PermissionDenied, match=f"right on schema {prepared.schema}"):
            await actions.rebuild("seen", **WHO)
        with pytest.raises(PermissionDenied, match=f"right on schema {prepared.schema}") as caught:
            await ReplayOperations(actions).begin("seen", TimeRange(None, None), "new", **WHO)
        assert "freehold db grants" in caught.value.hint
        assert isinstance(caught.value, DatabaseError)


async def test_an_owner_rebuilds_for_a_role_that_may_not(prepared: Place) -> None:
    """The tables of the new generation are granted ahead: who runs the service fills them."""
    async with RunningService(clinic, prepared.settings()) as running, asyncio.timeout(60):
        async with running.transaction() as tx:
            tx.append("patient-ada", Seen("ada"))
        owner = open_stores(prepared.owner_url, migrations=clinic.migrations)
        await owner.database.open()
        actions = ProjectionOperations(ServiceContext("clinic", owner, declared=clinic.of))
        await actions.rebuild("seen", **WHO)

        async def is_filled() -> bool:
            return bool(await _rows(running, "SELECT * FROM seen__g2"))

        await eventually(is_filled)
        await actions.switch("seen", **WHO)
        async with running.transaction() as tx:
            tx.append("patient-bob", Seen("bob"))

        async def is_live() -> bool:
            return len(await _rows(running, "SELECT * FROM seen")) == 2

        await eventually(is_live)
        await actions.drop("seen", 1, **WHO)
        await owner.database.close()


async def test_a_newer_version_is_told_once_where_its_tables_cannot_be_made(
    prepared: Place, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Service("clinic", migrations=clinic.migrations)
    projection = Projection("seen", version=2, tables=(SEEN,))
    projection.on(Seen)(clinic.projections["seen"].handlers[Seen])
    newer.projects(projection)
    async with RunningService(newer, prepared.settings(poll_seconds=0.01), roles=["projections"]) as running:

        async def is_denied() -> bool:
            return any(isinstance(each.last_error, PermissionDenied) for each in running.loops.all())

        await eventually(is_denied)
        looks = [0]

        async def has_looked_again() -> bool:
            looks[0] += 1
            return looks[0] > 10

        await eventually(has_looked_again)
    told = [each for each in caplog.records if "rebuild, switch or drop it by command" in each.getMessage()]
    assert len(told) == 1


def test_grants_name_the_role_the_schema_and_the_owner_in_quotes(place: Place) -> None:
    assert place.as_owner("db", "upgrade").code == 0
    answer = place.as_owner("db", "grants", "--role", 'a"b; DROP', "--json")
    statements = answer.document["grants"]["clinic"]
    assert all('"a""b; DROP"' in each for each in statements)
    assert any('ALTER DEFAULT PRIVILEGES FOR ROLE "Owner-' in each for each in statements)
    other = place.as_owner("db", "grants", "--role", "r", "--schema", 'my"schema', "--json")
    assert 'GRANT USAGE ON SCHEMA "my""schema" TO "r"' in other.document["grants"]["clinic"]
    for wrong in ("", "x" * 64, "a\nb"):
        assert place.as_owner("db", "grants", "--role", wrong).code == 2


def test_doctor_names_the_right_and_the_table_that_are_missing(prepared: Place) -> None:
    well = _findings(prepared.as_role("doctor", "--json"))
    assert well["rights"]["ok"]
    assert well["preparation"]["ok"]
    assert well["making tables"]["ok"]
    assert f"not permitted in schema {prepared.schema}" in well["making tables"]["detail"]
    quoted = '"' + prepared.role.replace('"', '""') + '"'
    prepared.execute(f"REVOKE DELETE ON freehold_inbox FROM {quoted}")
    prepared.execute(f"REVOKE SELECT ON freehold_outbox_position_seq FROM {quoted}")
    prepared.execute(f"REVOKE EXECUTE ON FUNCTION freehold_view_refresh FROM {quoted}")
    answer = prepared.as_role("doctor", "--json")
    assert answer.code == 1
    rights = _findings(answer)["rights"]
    assert not rights["ok"]
    assert rights["detail"] == (
        "missing: DELETE on freehold_inbox, EXECUTE on freehold_view_refresh, SELECT on freehold_outbox_position_seq"
    )
    assert "freehold db grants --role" in rights["fix"]
    prepared.execute(f"REVOKE USAGE ON SCHEMA {prepared.schema} FROM {quoted}")
    told = json.dumps(_findings(prepared.as_role("doctor", "--json")))
    assert ("USAGE on schema public" if prepared.schema == "public" else "no USAGE right on the schema 'wards'") in told


def test_doctor_and_status_tell_what_is_not_prepared(place: Place) -> None:
    async def upgrade_alone() -> None:
        stores = open_stores(place.owner_url, migrations=clinic.migrations)
        await stores.database.open()
        await stores.database.upgrade()
        await stores.database.close()

    asyncio.run(upgrade_alone())
    place.grant()
    finding = _findings(place.as_role("doctor", "--json"))["preparation"]
    assert not finding["ok"]
    assert finding["detail"] == "not made yet: projection/seen, projection/at-once, view/visits"
    status = place.as_role("db", "status", "--json")
    assert (status.code, status.document["unmade"]["clinic"]) == (
        1,
        ["projection/seen", "projection/at-once", "view/visits"],
    )
    upgraded = place.as_owner("db", "upgrade", "--json")
    assert upgraded.document["made"]["clinic"] == ["projection/seen", "projection/at-once", "view/visits"]
    assert place.as_owner("db", "upgrade", "--json").document["made"]["clinic"] == []
    assert place.as_role("db", "status", "--json").code == 0


async def test_a_start_that_is_not_prepared_says_which_right_is_missing(place: Place) -> None:
    """The inline projection begins before anything is appended: without its tables the service does not start."""
    stores = open_stores(place.owner_url, migrations=clinic.migrations)
    await stores.database.open()
    await stores.database.upgrade()
    statements = await stores.database.grants(place.role)
    await stores.database.close()
    with place.connect(place.owner_url) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    with pytest.raises(PermissionDenied, match=f"right on schema {place.schema}") as caught:
        async with RunningService(clinic, place.settings()):
            pass
    assert "freehold db upgrade" in caught.value.hint


async def test_an_upgrade_by_a_role_without_ddl_says_which_right_is_missing(place: Place) -> None:
    quoted = '"' + place.role.replace('"', '""') + '"'
    place.execute(f"GRANT CONNECT ON DATABASE {place.admin_url.rpartition('/')[2]} TO {quoted}")
    place.execute(f"GRANT USAGE ON SCHEMA public TO {quoted}")
    with pytest.raises((PermissionDenied, ConfigurationError), match=r"right on schema public|may not create it"):
        async with RunningService(clinic, place.settings(migrate_on_start=True)):
            pass


async def test_the_function_refreshes_no_view_of_anybody_else(prepared: Place) -> None:
    """Not one that Freehold has not built, nor one that belongs to another role."""
    with prepared.connect(prepared.owner_url) as connection:
        connection.execute("CREATE MATERIALIZED VIEW other AS SELECT 1 AS one")
    prepared.execute("CREATE MATERIALIZED VIEW foreign_one AS SELECT 1 AS one")
    prepared.execute("INSERT INTO freehold_view VALUES ('foreign_one', 'x', now(), 0, now(), 0, '')")
    with prepared.connect(prepared.url) as connection:
        for name in ("other", "foreign_one", "freehold_outbox"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT freehold_view_refresh(to_regclass(%s))", (name,))
        connection.execute("SELECT freehold_view_refresh(to_regclass('visits'))")


@pytest.mark.parametrize("url", ["sqlite:///{}/some.db", "memory://some"])
async def test_engines_without_roles_say_so(url: str, tmp_path: Path) -> None:
    stores = open_stores(url.format(tmp_path))
    await stores.database.open()
    with pytest.raises(ConfigurationError, match="has no roles"):
        await stores.database.grants("somebody")
    await stores.database.close()


def _findings(answer: Any) -> dict[str, Any]:
    return {
        each["subject"]: each
        for report in answer.document["reports"]
        if report["place"] == "database of clinic"
        for each in report["findings"]
    }
