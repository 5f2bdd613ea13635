"""A pattern that a project defines is stored, run, woken, pruned, checked and shown without a change anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.pattern.tally import TALLIES, TALLY, Tallies, mark, till
from tests.unit.cli.typing_in import Typed, typist

from freehold import RunningService, Service, Settings
from freehold.errors import ConfigurationError, DeclarationError
from freehold.pattern import Pattern
from freehold.ports import MissingPort
from freehold.runtime.patterns import patterns_of

_APP = "tests.integration.pattern.tally"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/till.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def typed(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    file = tmp_path / "freehold.toml"
    lines = ['broker = "memory://"', "[project]", f'modules = ["{_APP}"]', "[services.till]"]
    lines += [f'database = "{url}"', "lease_seconds = 0.2"]
    file.write_text("\n".join(lines))

    monkeypatch.setenv("FREEHOLD_SETTINGS", str(file))
    monkeypatch.delenv("FREEHOLD_APP", raising=False)
    return typist(capsys)


def _settings(url: str, **options: Any) -> Settings:
    return Settings.load("till", environ={}, database=url, broker="memory://", poll_seconds=3600.0, **options)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


async def test_it_is_stored_with_the_commit_and_its_runner_is_woken(url: str) -> None:
    """The runner waits for an hour where nobody wakes it."""
    async with RunningService(till, _settings(url)) as running:
        store = running.stores[TALLIES]

        async def counted() -> bool:
            return await store.totals() == {"coffee": 2}

        async with running.transaction() as tx:
            mark(tx, "coffee")
            mark(tx, "coffee")
        await _until(counted)
        with pytest.raises(RuntimeError, match="planned"):
            async with running.transaction() as tx:
                mark(tx, "coffee")
                raise RuntimeError("planned")
        assert await store.open_count() == 0
        assert await store.totals() == {"coffee": 2}


async def test_its_role_is_paused_and_run_alone(url: str) -> None:
    """As those of the built-in patterns."""
    async with RunningService(till, _settings(url), roles=("tally",)) as running:
        await running.pause("tally")
        async with running.transaction() as tx:
            mark(tx, "coffee")
        assert await running.stores[TALLIES].open_count() == 1
        await running.resume("tally")

        async def counted() -> bool:
            return await running.stores[TALLIES].open_count() == 0

        await _until(counted)
    with pytest.raises(ConfigurationError, match="no role is called 'tally'"):
        RunningService(
            Service("other"), Settings.load("other", environ={}, database=url, broker="memory://"), roles=("tally",)
        )


async def test_its_rows_are_pruned(url: str) -> None:
    """By the runner that prunes all patterns."""
    async with RunningService(till, _settings(url, prune_interval_seconds=0.05), roles=("tally", "prune")) as running:
        store = running.stores[TALLIES]
        async with running.transaction() as tx:
            mark(tx, "coffee")

        async def pruned() -> bool:
            return await store.open_count() == 0 and await store.totals() == {}

        await _until(pruned)


async def test_health_and_readiness_tell_of_it(url: str) -> None:
    """Its metric, its notice, and that its work is overdue; none of it takes readiness from the service."""
    async with RunningService(till, _settings(url), roles=()) as running:
        assert (await running.health()).metrics["open marks"] == 0.0
        async with running.transaction() as tx:
            mark(tx, "coffee")
        assert (await running.health()).metrics["open marks"] == 1.0
        found = await running.readiness()
        assert found.ready
        assert found.notices["tallies"] == "1 marks are not counted"
        assert "marks have been due for 17 min" in found.notices["overdue"]


def test_the_command_line_shows_it(url: str, typed: Typed) -> None:
    """Its command, its column of `ps`, its findings in `doctor`, what it declares in `describe`; its tables by `db`."""
    assert typed("db", "upgrade").code == 0
    asyncio.run(_marked(url))
    assert typed("tally", "--json").document == {"tallies": {"till": {}}}
    (row,) = typed("ps", "--json").document["services"]
    assert row["metrics"] == {"open marks": 2.0}
    assert "open marks" in typed("ps").out
    found = typed("doctor", "--json")
    findings = {each["subject"]: each for report in found.document["reports"] for each in report["findings"]}
    assert not findings["tallies"]["ok"]
    assert "the oldest has been due for 17 min" in findings["due marks"]["detail"]
    (described,) = typed("describe", "--json").document["services"]
    assert described["patterns"] == {"tally": {"summary": "counts marks", "names": ["coffee"]}}
    assert {"pattern": "tally", "ports": ["tallies"], "by": ["coffee"]} in described["needs"]
    asyncio.run(_counted(url))
    (traced,) = typed("trace", "coffee", "--json").document["found"]
    assert (traced["service"], traced["where"], traced["key"]) == ("till", "tally", "coffee")
    assert traced["waits_for"] == "nothing: 2 are counted"
    assert "uses tally: counts marks" in typed("describe").out
    assert "counts marks" in typed("--help").out
    assert "tallies" in typed("describe", "--ports").out


async def _marked(url: str) -> None:
    async with RunningService(till, _settings(url), roles=()) as running, running.transaction() as tx:
        mark(tx, "coffee")
        mark(tx, "coffee")


async def _counted(url: str) -> None:
    async with RunningService(till, _settings(url), roles=("tally",)) as running:

        async def counted() -> bool:
            return await running.stores[TALLIES].open_count() == 0

        await _until(counted)


def test_the_printed_schema_has_its_tables(typed: Typed) -> None:
    printed = typed("db", "sql", "--service", "till")
    assert printed.code == 0
    assert "CREATE TABLE tally_mark" in printed.out


def test_an_engine_without_its_port_is_refused() -> None:
    """Before anything is opened; what is told names pattern, port, engine, and the engines that have it."""
    with pytest.raises(MissingPort) as refused:
        RunningService(till, _settings("memory://"))
    assert "tally needs the port 'tallies' (marks of a till), which memory does not have" in str(refused.value)
    assert "engines that have 'tallies': PostgreSQL, SQLite" in refused.value.hint
    assert "needed by coffee" in refused.value.hint


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (replace(TALLY, name="inbox"), "two patterns are called 'inbox'"),
        (replace(TALLY, name="other"), "the role 'tally' of pattern 'other' exists already"),
        (
            replace(TALLY, name="other", roles=(replace(TALLY.roles[0], name="relay"),)),
            "the role 'relay' of pattern 'other'",
        ),
    ],
)
def test_a_name_that_is_taken_is_refused(pattern: Pattern[Tallies], told: str) -> None:
    """The registry, the runners and `--role` could not be told apart."""
    with pytest.raises(DeclarationError, match=told):
        patterns_of(Service("till", patterns=(TALLY, pattern)))
