"""`freehold db sql`: what people run who deploy the schema themselves makes what `freehold db upgrade` makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from tests.integration.cli.work import APP
from tests.integration.sql.schema_catalogue import postgres_catalogue, sqlite_catalogue
from tests.unit.cli.typing_in import Typed, typist

from freehold.errors import ConfigurationError
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.empty_database


class Place:
    """An empty database, which `depot` is told to use."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path

    def run(self, script: str) -> None:
        """As the engine's own tool does."""
        if self.url.startswith("sqlite"):
            connection = sqlite3.connect(self._path)
            connection.executescript(script)
            connection.close()
        else:
            with psycopg.connect(self._server_url, autocommit=True) as connection_:
                connection_.execute(script.encode())

    def empty(self) -> None:
        """As it was at first."""
        if self.url.startswith("sqlite"):
            for each in self._path.parent.glob(f"{self._path.name}*"):
                each.unlink()
        else:
            self.run("DROP SCHEMA IF EXISTS app CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def catalogue(self) -> Mapping[str, str]:
        """What is in it."""
        return sqlite_catalogue(self._path) if self.url.startswith("sqlite") else postgres_catalogue(self._server_url)

    @property
    def _server_url(self) -> str:
        """With the search path of the service's own connections, where it has a schema."""
        plain, _, schema = self.url.partition("?schema=")
        return f"{plain}?options=-csearch_path%3D{schema},public" if schema else plain


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.servers),
        pytest.param("schema", marks=pytest.mark.servers),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path}/depot.db", tmp_path / "depot.db")
    url = request.getfixturevalue("postgres_url")
    return Place(f"{url}?schema=app" if request.param == "schema" else url, tmp_path)


@pytest.fixture
def typed(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    (tmp_path / "freehold.toml").touch()
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(tmp_path / "freehold.toml"))
    monkeypatch.setenv("FREEHOLD_APP", APP)
    monkeypatch.setenv("FREEHOLD_DEPOT_DATABASE", place.url)
    return typist(capsys)


def test_the_script_makes_what_an_upgrade_makes(typed: Typed, place: Place) -> None:
    printed = typed("db", "sql", "--service", "depot")
    assert printed.code == 0
    assert typed("db", "upgrade", "--service", "depot").code == 0
    upgraded = place.catalogue()
    assert len(upgraded) > 200
    place.empty()
    place.run(printed.out)
    assert place.catalogue() == upgraded
    assert typed("db", "status", "--service", "depot").out == "Pending: every database is up to date\n"
    assert typed("db", "upgrade", "--service", "depot").out == "Applied: every database is up to date\n"


def test_one_port_is_printed_alone(typed: Typed, place: Place) -> None:
    printed = typed("db", "sql", "--service", "depot", "--port", "outbox").out
    assert "CREATE TABLE freehold_outbox_watermark" in printed.replace('"app".', "")
    assert "freehold_inbox" not in printed
    assert ("FUNCTION" in printed) != place.url.startswith("sqlite")
    unknown = typed("db", "sql", "--service", "depot", "--port", "nothing")
    assert unknown.code != 0
    assert "there is no port 'nothing' with tables" in unknown.err
    assert "outbox" in unknown.err


def test_of_several_services_one_is_to_be_named(typed: Typed) -> None:
    refused = typed("db", "sql")
    assert refused.code != 0
    assert "choose one with --service" in refused.err


def test_a_database_in_memory_has_no_script() -> None:
    with pytest.raises(ConfigurationError, match="has no schema"):
        open_stores("memory://").database.script("depot")
