"""`reconcile` and `monitor` on a project that runs in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.cli.pages import BookTitled, index, library
from tests.unit.cli.typing_in import Typed, typist

from freehold.runtime import Runtime

pytestmark = pytest.mark.timeout(240)
APP = "tests.integration.cli.pages"


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    file = tmp_path / "freehold.toml"
    lines = [f'broker = "embedded:///{tmp_path}/broker.db"', "[project]", f'modules = ["{APP}"]']
    lines += ["[defaults]", "lease_seconds = 0.6", "poll_seconds = 0.1"]
    for name in ("library", "index"):
        lines += [f"[services.{name}]", f'database = "sqlite:///{tmp_path}/{name}.db"']
    file.write_text("\n".join(lines))
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(file))
    typed = typist(capsys)
    assert typed("db", "upgrade").code == 0
    return typed


@contextmanager
def running() -> Iterator[None]:
    """`freehold run`, until its document has come; a mark needs a relay and a consumer."""
    command = [sys.executable, "-m", "freehold.cli.main", "run", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line
            text += line
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def write(*statements: str, publish: bool = False) -> None:
    async def work() -> None:
        async with Runtime(library, index, roles=()) as runtime:
            for statement in statements:
                service = "library" if "book" in statement else "index"
                async with runtime[service].transaction() as tx:
                    await tx.sql.execute(statement)
                    if publish:
                        for isbn, title in await tx.sql.fetch("SELECT isbn, title FROM book"):
                            tx.publish(BookTitled(isbn, title))

    asyncio.run(work())


def test_copies_are_watched_compared_and_repaired(typed: Typed) -> None:
    write("INSERT INTO book VALUES ('1', 'one'), ('2', 'two'), ('3', 'three')", publish=True)
    waiting = typed("monitor", "--json").document
    (replica,) = waiting["replicas"]
    assert (replica["dataset"], replica["outbox"], replica["last"]) == ("library.books", 3, None)
    with running():
        compared = typed("reconcile", "--json")
        assert compared.code == 0, compared.out
        (one,) = compared.document["results"]
        assert (one["service"], one["result"]["compared"], one["result"]["drift"]) == ("index", 3, [])
        write("UPDATE entry SET title = 'wrong' WHERE isbn = '2'", "DELETE FROM entry WHERE isbn = '1'")
        told = typed("reconcile", "library.books")
        assert told.code == 1
        assert "different" in told.out
        assert "missing" in told.out
        assert "wrong" not in told.out, "what is in a field is nobody's business"
        assert typed("monitor", "--max-lag-seconds", "3600").code == 1
        assert typed("reconcile", "--repair").code == 2, "a repair needs a reason"
        mended = typed("reconcile", "--repair", "--reason", "by hand", "--json")
        assert mended.code == 0, mended.out
        assert sorted(mended.document["results"][0]["result"]["repaired"]) == ["1", "2"]
        assert typed("reconcile").code == 0
        assert typed("monitor", "--max-lag-seconds", "3600").code == 0
    (entry,) = typed("audit", "--json").document["actions"]
    assert (entry["subject"], entry["reason"]) == ("library.books", "by hand (2 rows repaired)")
    assert typed("reconcile", "library.films").code == 1


def test_monitor_shows_who_is_behind(typed: Typed) -> None:
    shown = typed("monitor")
    assert shown.code == 0
    assert "library.events" in shown.out
    assert "never" in shown.out
