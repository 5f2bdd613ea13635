"""Several processes of one service, which look for work by themselves only every half a minute: hints wake them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runtime.hinted import POLL_SECONDS

from freehold.broker import BrokerOptions

_LIMIT_SECONDS = 60.0
_SOON_SECONDS = POLL_SECONDS / 3
"""A message that waited for a poll takes longer, most often; it is far more than a busy machine needs."""
_MESSAGES = 60


class _Processes:
    """The processes of one service, and what they have printed."""

    def __init__(self, settings: dict[str, Any], closing: AsyncExitStack) -> None:
        self._settings = settings
        self._closing = closing
        self._handled: set[str] = set()
        self._states: dict[Process, tuple[int, ...]] = {}
        self._news = asyncio.Event()

    async def start(self, **settings: Any) -> Process:
        """Start one."""
        told = json.dumps({**self._settings, **settings})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.runtime.hinted", told, stdin=PIPE, stdout=PIPE
        )
        reading = asyncio.create_task(self._read(process))
        self._closing.push_async_callback(_end, process, reading)
        await self.until(lambda: process in self._states)
        return process

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := (await process.stdout.readline()).decode().split():
            if line[0] == "state":
                self._states[process] = tuple(int(word) for word in line[1:])
            else:
                self._handled.add(line[1])
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

    def _all_known(self) -> bool:
        return all(state[1] == len(self._states) - 1 for state in self._states.values())

    async def handled(self, key: str) -> None:
        """Wait until a message was handled, in whatever process; in less time than a poll takes."""
        await self.until(lambda: key in self._handled, _SOON_SECONDS)


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
async def _processes(settings: dict[str, Any]) -> AsyncIterator[_Processes]:
    async with AsyncExitStack() as closing:
        yield _Processes(settings, closing)


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
async def processes(request: pytest.FixtureRequest) -> AsyncIterator[_Processes]:
    async with _processes(request.param(request)) as started:
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
    """A process that serves requests, beside one that works."""
    await processes.start()
    serving = await processes.start(roles=[])
    await processes.known()
    for number in range(10):
        say(serving, "publish", f"key-{number}")
        await processes.handled(f"key-{number}")
        say(serving, "schedule", f"later-{number}")
        await processes.handled(f"later-{number}")
