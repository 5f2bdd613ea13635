"""Three services of a project, of which one can be broken; the others are whole."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.integration.cli.work import letter
from tests.unit.cli.typing_in import Typed, typist

from freehold.deadletters.store import DEAD_LETTERS
from freehold.migrations import Migration
from freehold.runtime.adapters import open_stores

__all__ = ["Workshop", "fill_database", "prepare", "typed", "unused_port", "workshop"]

_MODULE = """
import sqlalchemy as sa
from freehold import Dataset, Migration, Service, Transaction, event
from freehold.projection.declaration import Projection

BOOKS = Dataset("one.books", key="isbn", fields=("title",))
TABLE = "CREATE TABLE {} (isbn TEXT PRIMARY KEY, title TEXT NOT NULL)"
one = Service("one", migrations=[Migration("001", {"": [TABLE.format("book")]})])
two = Service("two", migrations=[Migration("001", {"": [TABLE.format("entry")]})])
one.publishes_dataset(BOOKS, table="book")
two.replicates(BOOKS, table="entry", columns={})

@event("one.titled", key="isbn")
class Titled:
    isbn: str
    title: str

@two.handles(Titled)
async def keep(titled: Titled, tx: Transaction) -> None: ...
"""
_GONE = ("freehold_outbox", "freehold_dead_letter", "freehold_saga", "freehold_schedule", "freehold_projection",
         "freehold_replay", "freehold_snapshot", "freehold_audit", "freehold_lease", "freehold_deferred")  # fmt: skip


_TABLES = {"one": "book", "two": "entry", "three": ""}


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def fill_database(name: str, url: str) -> None:
    """Make a service's database, with a dead letter in it."""
    table = _TABLES[name]
    text = f"CREATE TABLE {table} (isbn TEXT PRIMARY KEY, title TEXT NOT NULL)"
    stores = open_stores(url, migrations=[Migration("001", {"": [text]})] if table else [])
    await stores.database.open()
    await stores.database.upgrade(name)
    async with stores.database.begin() as db_tx:
        await stores[DEAD_LETTERS].add(db_tx, letter(-1, consumer=name))
    await stores.database.close()


class Workshop:
    """Three services, of which `two` can be broken: what is done to it gives the exit code and the reason."""

    def __init__(self, directory: Path, setenv: Callable[[str, str], None]) -> None:
        self.directory = directory
        self.setenv = setenv

    def away(self) -> tuple[int, str]:
        """Nobody listens."""
        self.setenv("FREEHOLD_TWO_DATABASE", f"postgresql://nobody@127.0.0.1:{unused_port()}/two")
        return 3, "cannot be reached"

    def unreadable(self) -> tuple[int, str]:
        self.setenv("FREEHOLD_TWO_DATABASE", "mystery://somewhere")
        return 2, "mystery"

    def wrong_number(self) -> tuple[int, str]:
        self.setenv("FREEHOLD_TWO_LEASE_SECONDS", "many")
        return 2, "lease_seconds"

    def unmigrated(self) -> tuple[int, str]:
        self.setenv("FREEHOLD_TWO_DATABASE", f"sqlite:///{self.directory}/empty.db")
        return 2, "lacks"

    def foreign(self) -> tuple[int, str]:
        self.setenv("FREEHOLD_TWO_DATABASE", f"sqlite:///{self.directory}/one.db")
        return 2, "belongs to 'one'"

    def damaged(self) -> tuple[int, str]:
        self.drop(*_GONE)
        return 1, "is missing"

    def drop(self, *tables: str) -> None:
        with sqlite3.connect(self.directory / "two.db") as connection:
            for table in tables:
                connection.execute(f"DROP TABLE {table}")

    def garbage(self) -> tuple[int, str]:
        for each in self.directory.glob("two.db*"):
            each.unlink()
        (self.directory / "two.db").write_bytes(b"no database at all" * 1000)
        return 3, "no SQLite database"

    def locked(self) -> tuple[int, str]:
        """Another writer does not end; it is closed with the test."""
        self.other = sqlite3.connect(self.directory / "two.db", isolation_level=None)
        self.other.execute("BEGIN IMMEDIATE")
        return 3, "locked by another process"


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch, prepared: Path, tmp_path: Path) -> Workshop:
    for each in prepared.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(prepared))
    for name in ("one", "two", "three"):
        monkeypatch.setenv(f"FREEHOLD_{name.upper()}_DATABASE", f"sqlite:///{tmp_path}/{name}.db")
        monkeypatch.setenv(f"FREEHOLD_{name.upper()}_LEASE_SECONDS", "0.6")
        monkeypatch.setenv(f"FREEHOLD_{name.upper()}_DATABASE_OPTIONS_LOCK_TIMEOUT_SECONDS", "0.2")
    monkeypatch.setenv("FREEHOLD_BROKER", f"embedded:///{tmp_path}/broker.db")
    monkeypatch.setenv("FREEHOLD_APP", next(prepared.glob("*.py")).stem)
    return Workshop(tmp_path, monkeypatch.setenv)


def prepare(directory: Path) -> None:
    """Write the module of three services, and their whole databases. Once in a process: it declares messages."""
    (directory / f"workshop_{uuid4().hex[:8]}.py").write_text(_MODULE + '\nthree = Service("three")\n')

    async def fill() -> None:
        for name in _TABLES:
            await fill_database(name, f"sqlite:///{directory}/{name}.db")

    asyncio.run(fill())


@pytest.fixture
def typed(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> Typed:
    return typist(capsys)
