"""A project on real engines, and the command line that works on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.integration.cli.work import APP, Project
from tests.integration.cli.workshop import prepare
from tests.unit.cli.typing_in import Typed, typist


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    file = tmp_path / "freehold.toml"
    if request.param == "embedded":
        databases = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("till", "depot")}
        broker = f"embedded:///{tmp_path}/broker.db"
    else:
        first: str = request.getfixturevalue("postgres_url")
        databases = {"till": first, "depot": f"{first}_depot"}
        _on_server(first, "CREATE DATABASE {}")
        broker = request.getfixturevalue("nats_url")
    lines = [f'broker = "{broker}"', "[project]", f'modules = ["{APP}"]', "[defaults]", "lease_seconds = 0.6"]
    lines += ["[defaults.broker_options]", f'prefix = "t{uuid4().hex[:12]}"']
    for name, url in databases.items():
        lines += [f"[services.{name}]", f'database = "{url}"']
    file.write_text("\n".join(lines))
    yield Project(file)
    if request.param == "servers":
        _on_server(databases["till"], "DROP DATABASE {} WITH (FORCE)")


@pytest.fixture
def typed(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """The command line of the project, its databases upgraded, with nothing in them."""
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(project.file))
    monkeypatch.delenv("FREEHOLD_APP", raising=False)
    typed = typist(capsys)
    assert typed("db", "upgrade").code == 0
    return typed


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module and the files of three services that are whole: to be copied."""
    directory = tmp_path_factory.mktemp("workshop")
    prepare(directory)
    return directory


def _on_server(url: str, statement: LiteralString) -> None:
    """A second database beside the test's own, made and dropped with it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(f"{url.rpartition('/')[2]}_depot")))
