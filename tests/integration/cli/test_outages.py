"""Commands in each outage of one database of three, or of the broker: one line with the reason, exit code 3 for what
could not be done, and what only reads goes on where the database can be read.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from tests.integration.cli.workshop import Workshop, fill_database, typed, unused_port, workshop
from tests.integration.health.conditions import CONDITIONS, small_disk
from tests.unit.cli.typing_in import Answer, Typed

from freehold.adapters.embedded.broker import EmbeddedBroker

__all__ = ["typed", "workshop"]

_READS: Final = ("ps", "outbox", "dlq list", "dlq show {letter}", "saga list", "db status", "audit")
_WRITES: Final = ("dlq replay {letter} --reason x", "dlq discard --all -s two --yes --reason x",
                  "outbox resend -s two --reason x", "doctor")  # fmt: skip
_ENDLESS: Final = ("Traceback", "ExceptionGroup", "failed (", "SQLITE_ERROR")
_HOLDER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
print("open", flush=True)
sys.stdin.read()
"""

Outage = Callable[[str], AbstractContextManager[None]]


@contextmanager
def _held_open(file: Path) -> Iterator[None]:
    """Another process has the file open, as a service that runs."""
    command = [sys.executable, "-c", _HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield
        holder.kill()


@contextmanager
def _locked(url: str) -> Iterator[None]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _as_role(url: str, setenv: Callable[[str, str], None], *statements: str) -> Iterator[None]:
    """The service connects as a role that is treated so."""
    name, database = f"role_{uuid4().hex[:8]}", url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as admin:
        for statement in (f"CREATE ROLE {name} LOGIN PASSWORD 'x'", *statements):
            admin.execute(statement.format(role=name, database=database).encode())
        theirs = sa.make_url(url).set(username=name, password="x")
        setenv("FREEHOLD_TWO_DATABASE", theirs.render_as_string(hide_password=False))
        yield
        admin.execute(f"DROP OWNED BY {name} CASCADE".encode())
        admin.execute(f"DROP ROLE {name}".encode())


def _check(told: Answer, code: int, *reasons: str) -> None:
    """The exit code, and one line for each reason."""
    assert told.code == code, told
    assert not any(each in told.err + told.out for each in _ENDLESS), told
    for reason in reasons:
        assert sum(reason in line for line in (told.err + told.out).splitlines()) == 1, (reason, told)


def _letter(typed: Typed, service: str) -> str:
    return str(typed("dlq", "list", "-s", service, "--json").document["dead_letters"][0]["id"])


def _tried(typed: Typed, letter: str, reason: str, *, readable: bool) -> None:
    for command in _READS:
        told = typed(*command.format(letter=letter).split())
        _check(told, 0 if readable else 3, *(() if readable else (reason,)))
        assert readable or "two" in told.err
    for command in _WRITES:
        told = typed(*command.format(letter=letter).split())
        _check(told, 3, reason)
        assert "two" in (told.out if command == "doctor" else told.err), command


def test_a_locked_file(typed: Typed, workshop: Workshop) -> None:
    letter = _letter(typed, "two")
    with _locked(f"sqlite:///{workshop.directory}/two.db"):
        _tried(typed, letter, "is locked by another process", readable=True)


@pytest.mark.parametrize("condition", ["full disk", "read-only disk"])
def test_a_disk(typed: Typed, workshop: Workshop, tmp_path: Path, condition: str) -> None:
    """While another process has it open, or had when it died: else SQLite makes a file beside it to read at all."""
    _, outage, reason = CONDITIONS[condition]
    with small_disk(tmp_path / "small") as place:
        file = place / "two.db"
        file.write_bytes((tmp_path / "two.db").read_bytes())
        workshop.setenv("FREEHOLD_TWO_DATABASE", f"sqlite:///{file}")
        letter = _letter(typed, "two")
        with _held_open(file), outage(f"sqlite:///{file}"):
            _tried(typed, letter, reason, readable=True)


@pytest.mark.servers
def test_postgres(typed: Typed, workshop: Workshop, postgres_url: str) -> None:
    setenv = workshop.setenv
    setenv("FREEHOLD_TWO_DATABASE", postgres_url)
    asyncio.run(fill_database("two", postgres_url))
    letter = _letter(typed, "two")
    with CONDITIONS["read-only server"][1](postgres_url):
        _tried(typed, letter, "the database is read-only", readable=True)
    with _as_role(postgres_url, setenv, "ALTER ROLE {role} CONNECTION LIMIT 0"):
        _tried(typed, letter, "too many connections to the database", readable=False)
    with _as_role(postgres_url, setenv, "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"):
        _tried(typed, letter, "the role may not connect to the database", readable=False)
    setenv("FREEHOLD_TWO_DATABASE", f"postgresql://nobody@127.0.0.1:{unused_port()}/two")
    _tried(typed, letter, "connection refused", readable=False)


def _with_broker(typed: Typed, reason: str, *, readable: bool) -> None:
    """What asks the broker; the databases are as they were."""
    for command in ("ps", "monitor"):
        _check(typed(command), 0 if readable else 3, *(() if readable else (reason,)))
    doctor = typed("doctor")
    assert (doctor.code, reason in doctor.out) == (3, True), doctor
    for command in ("dlq list", "saga list", "db status", "outbox resend --reason x"):
        _check(typed(*command.split()), 0)


@pytest.mark.parametrize("condition", ["file locked", "full disk", "read-only disk"])
def test_the_embedded_broker(typed: Typed, workshop: Workshop, tmp_path: Path, condition: str) -> None:
    _, outage, reason = CONDITIONS[condition]
    with small_disk(tmp_path / "small") as place:
        file = place / "broker.db"
        workshop.setenv("FREEHOLD_BROKER", f"embedded:///{file}")
        typed("doctor")
        with outage(f"sqlite:///{file}"):
            # A lock keeps out who writes; a disk that takes nothing keeps SQLite from making the files it reads with.
            _with_broker(typed, reason, readable=condition == "file locked")
        if condition == "full disk":
            with _held_open(file), outage(f"sqlite:///{file}"):
                _with_broker(typed, reason, readable=True)


def test_a_locked_broker_is_waited_for_once(
    typed: Typed, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all three services at the same time, and not by one after the other."""
    for name in ("freehold.cli.services.PROBE_SECONDS", "freehold.runtime.doctor._PROBE_SECONDS"):
        monkeypatch.setattr(name, 2.0)
    probe, waiting, most = EmbeddedBroker.probe, set[str](), list[int]()

    async def counted(self: EmbeddedBroker, name: str, timeout_seconds: float) -> None:
        waiting.add(name)
        most.append(len(waiting))
        try:
            await probe(self, name, timeout_seconds)
        finally:
            waiting.discard(name)

    monkeypatch.setattr(EmbeddedBroker, "probe", counted)
    file = tmp_path / "broker.db"
    workshop.setenv("FREEHOLD_BROKER", f"embedded:///{file}")
    typed("doctor")
    with _locked(f"sqlite:///{file}"):
        for command in ("doctor", "monitor --max-lag-seconds 60"):
            most.clear()
            told = typed(*command.split())
            assert (told.code, (told.out + told.err).count("locked by another process")) == (3, 3), told
            assert most == [1, 2, 3], command


def test_nats_that_is_away(typed: Typed, workshop: Workshop) -> None:
    workshop.setenv("FREEHOLD_BROKER", f"nats://127.0.0.1:{unused_port()}")
    _with_broker(typed, "NATS cannot be reached", readable=False)


def test_what_a_command_does_in_one_service_names_it(typed: Typed, workshop: Workshop) -> None:
    """Also where all of them could be opened: nobody could tell which is meant."""
    letter = _letter(typed, "two")
    body = workshop.directory / "body.json"
    body.write_text("{}")
    with _locked(f"sqlite:///{workshop.directory}/two.db"):
        told = typed("dlq", "edit", letter, "--body", body, "--reason", "x")
        _check(told, 3, "error: two: the database is locked by another process")
