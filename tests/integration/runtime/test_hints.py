"""Several processes of one service, which look for work by themselves only every half a minute: hints wake them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.integration.runtime.hinted import APP, MENDED, POLL_SECONDS

from freehold.broker import BrokerOptions
from freehold_shop.servers import RunningServer

_LIMIT_SECONDS = 60.0
_SOON_SECONDS = POLL_SECONDS / 3
"""A message that waited for a poll takes longer, most often; it is far more than a busy machine needs."""
_MESSAGES = 60


class _Processes:
    """The processes of one service, and what they have printed."""

    def __init__(self, settings: dict[str, Any], directory: Path, closing: AsyncExitStack) -> None:
        self.mended = directory / "mended"
        self._settings = settings
        self._directory = directory
        self._closing = closing
        self._environment = {**os.environ, MENDED: str(self.mended)}
        self._said: set[tuple[str, str]] = set()
        self._states: dict[Process, tuple[int, ...]] = {}
        self._news = asyncio.Event()

    async def start(self, **settings: Any) -> Process:
        """Start one."""
        told = json.dumps({**self._settings, **settings})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", APP, told, stdin=PIPE, stdout=PIPE, env=self._environment
        )
        reading = asyncio.create_task(self._read(process))
        self._closing.push_async_callback(_end, process, reading)
        await self.until(lambda: process in self._states)
        return process

    async def command(self, *arguments: str) -> None:
        """Run a command of `freehold` in a process of its own, with the settings of the service."""
        file = self._directory / "freehold.toml"
        options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in self._options().items())
        urls = "".join(f"{name} = {json.dumps(self._settings[name])}\n" for name in ("database", "broker"))
        file.write_text(f"[services.till]\n{urls}[services.till.broker_options]\n{options}")
        environment = {**self._environment, "FREEHOLD_SETTINGS": str(file)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "freehold.cli.main", "--app", APP, *arguments, stdout=DEVNULL, env=environment
        )
        assert await process.wait() == 0

    def _options(self) -> dict[str, Any]:
        return dict(self._settings.get("broker_options", {}))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := (await process.stdout.readline()).decode().split():
            if line[0] == "state":
                self._states[process] = tuple(int(word) for word in line[1:])
            else:
                self._said.add((line[0], line[1]))
            self._news.set()

    async def until(self, condition: Callable[[], bool], seconds: float = _LIMIT_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def shared(self, *processes: Process) -> None:
        """Wait until each relays a part of the partitions, and knows the others."""
        await self.until(
            lambda: all(self._states[each][0] == 8 // len(processes) for each in processes) and self._all_known()
        )

    async def known(self) -> None:
        """Wait until each process knows the others."""
        await self.until(self._all_known)

    async def stop(self, process: Process) -> None:
        """Stop one, and wait for its end."""
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()

    def relayed(self, process: Process) -> int:
        """How many partitions of the outbox it relays."""
        return self._states[process][0]

    def _all_known(self) -> bool:
        return all(state[1] == len(self._states) - 1 for state in self._states.values())

    async def handled(self, key: str) -> None:
        """Wait until a message was handled, in whatever process; in less time than a poll takes."""
        await self.until(lambda: ("handled", key) in self._said, _SOON_SECONDS)

    async def refused(self, key: str) -> None:
        """Wait until a message was refused, which is then a dead letter at once."""
        await self.until(lambda: ("refused", key) in self._said, _SOON_SECONDS)


def say(process: Process, what: str, key: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what} {key}\n".encode())


async def _end(process: Process, reading: asyncio.Task[None]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
    await reading


@asynccontextmanager
async def _processes(settings: dict[str, Any], directory: Path) -> AsyncIterator[_Processes]:
    async with AsyncExitStack() as closing:
        yield _Processes(settings, directory, closing)


def _on_postgres(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"database": request.getfixturevalue("postgres_url"), **_nats(request)}


def _on_mariadb(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"database": request.getfixturevalue("mariadb_url"), **_nats(request)}


def _on_pgbouncer(request: pytest.FixtureRequest) -> dict[str, Any]:
    url = f"{request.getfixturevalue('pgbouncer_url')}?statement_cache_size=0"
    return {"database": url, **_nats(request)}


def _on_sqlite(request: pytest.FixtureRequest) -> dict[str, Any]:
    directory: Path = request.getfixturevalue("tmp_path")
    return {"database": f"sqlite:///{directory}/till.db", "broker": f"embedded:///{directory}/broker.db"}


def _nats(request: pytest.FixtureRequest) -> dict[str, Any]:
    options = BrokerOptions(prefix=request.getfixturevalue("nats_prefix"), lease_seconds=2.0)
    return {"broker": request.getfixturevalue("nats_server").url, "broker_options": asdict(options)}


_ENGINES: Sequence[Any] = [
    pytest.param(_on_sqlite, id="sqlite-embedded"),
    pytest.param(_on_postgres, id="postgresql", marks=pytest.mark.servers),
    pytest.param(_on_pgbouncer, id="pgbouncer-nats", marks=pytest.mark.servers),
    pytest.param(_on_mariadb, id="mariadb-nats", marks=pytest.mark.servers),
]


@pytest.fixture(params=_ENGINES)
async def processes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[_Processes]:
    async with _processes(request.param(request), tmp_path) as started:
        yield started


async def test_no_message_of_one_instance_waits_for_a_poll_of_the_other(processes: _Processes) -> None:
    """Who stages is not who relays: the instances share the partitions. One message at a time, so that no later one
    makes up for a hint that was not sent.
    """
    one, two = await processes.start(), await processes.start()
    await processes.shared(one, two)
    for number in range(_MESSAGES):
        say(one if number % 2 else two, "publish", f"key-{number}")
        await processes.handled(f"key-{number}")


async def test_work_of_a_process_without_loops_is_done_at_once_by_another(processes: _Processes) -> None:
    """A process that serves requests, beside one that works: messages, due times, calls of sagas, read models."""
    await processes.start()
    serving = await processes.start(roles=[])
    await processes.known()
    for what in ("publish", "schedule", "audit", "append"):
        for number in range(5):
            say(serving, what, f"{what}-{number}")
            await processes.handled(f"{what}-{number}")


async def test_what_a_command_leaves_to_the_service_is_done_at_once(processes: _Processes) -> None:
    """A dead letter is replayed, and a paused projection resumed."""
    serving = await processes.start()
    say(serving, "publish", "bad-1")
    await processes.refused("bad-1")
    say(serving, "publish", "later")  # the letter is there when a message after it is handled
    await processes.handled("later")
    processes.mended.touch()
    await processes.command("dlq", "replay", "--all", "--reason", "mended")
    await processes.handled("bad-1")
    await processes.command("projection", "pause", "rung", "--reason", "a look")
    say(serving, "append", "held")
    await processes.command("projection", "resume", "rung", "--reason", "seen")
    await processes.handled("held")


async def test_partitions_are_shared_at_once_when_an_instance_comes_or_goes(processes: _Processes) -> None:
    """With leases of ten minutes, so that nothing happens by looking at them from time to time."""
    one, two = await processes.start(lease_seconds=600.0), await processes.start(lease_seconds=600.0)
    await processes.shared(one, two)
    await processes.stop(two)
    await processes.until(lambda: processes.relayed(one) == 8, _SOON_SECONDS)


@pytest.mark.servers
async def test_hints_come_again_after_the_listeners_were_cut_off_and_the_server_was_killed(
    disposable_postgres: RunningServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What was emitted while a line was lost is found as soon as there is a new one."""
    async with _processes({"database": disposable_postgres.url, **_nats(request)}, tmp_path) as processes:
        one, two = await processes.start(), await processes.start()
        await processes.shared(one, two)
        for turn in range(3):
            await _cut_off_listeners(disposable_postgres.url)
            for number in range(5):
                say(one if number % 2 else two, "publish", f"cut-{turn}-{number}")
                await processes.handled(f"cut-{turn}-{number}")
        disposable_postgres.kill()
        disposable_postgres.start()
        for number in range(20):
            say(one if number % 2 else two, "publish-again", f"killed-{number}")
            await processes.handled(f"killed-{number}")


async def _cut_off_listeners(url: str) -> None:
    """Close their connections from the server's side."""
    connection = await asyncpg.connect(url)
    try:
        cut = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND (query LIKE '%pg_notify%' OR query LIKE 'LISTEN%')"
        )
        assert cut
    finally:
        await connection.close()
