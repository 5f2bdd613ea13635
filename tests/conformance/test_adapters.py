"""Each adapter of a database has what it declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from freehold.conformance.adapter import AdapterConformance
from freehold.ports import Stores
from freehold.runtime.adapters import database_engines, open_stores


class TestAdapterOfMemory(AdapterConformance):
    @pytest.fixture
    def stores(self) -> Stores:
        return open_stores("memory://adapter")


class TestAdapterOfSqlite(AdapterConformance):
    @pytest.fixture
    def stores(self, tmp_path: Path) -> Stores:
        return open_stores(f"sqlite:///{tmp_path}/service.db")


class TestAdapterOfPostgres(AdapterConformance):
    """Nothing is connected: no server is needed."""

    @pytest.fixture
    def stores(self) -> Stores:
        return open_stores("postgresql://somebody@localhost/nothing")


class TestAdapterOfMariaDb(AdapterConformance):
    @pytest.fixture
    def stores(self) -> Stores:
        return open_stores("mariadb://somebody@localhost/nothing")


def test_every_engine_declares_ports() -> None:
    engines = database_engines()
    assert list(engines) == ["MariaDB", "memory", "PostgreSQL", "SQLite"]
    assert engines["SQLite"]
    assert set(engines["SQLite"]) == set(engines["PostgreSQL"]) == set(engines["MariaDB"]) > set(engines["memory"])


def test_what_engines_declare_is_read_without_a_driver() -> None:
    """A service on one engine is told which others have what it lacks, and their drivers need not be installed."""
    script = (
        "import sys; from freehold.runtime.adapters import database_engines; database_engines();"
        " print(sorted({'asyncpg', 'psycopg', 'asyncmy', 'aiosqlite', 'sqlalchemy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
