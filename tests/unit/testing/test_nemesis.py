"""The nemesis: what a seed draws, what it carries out, and its faults of processes, disks and networks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from freehold.testing import Disturbance, Exchange, Nemesis, TcpProxy, frozen, full_disk, killed, lost_answers
from freehold.testing import network_faults as faults_of_networks

_SOON_SECONDS = 30.0


class _Trial:
    """Disturbances that note what is done to them."""

    def __init__(self) -> None:
        self.on: set[str] = set()
        self.together: list[frozenset[str]] = []
        self.endings = 0

    def disturbance(
        self,
        name: str,
        *,
        seconds: tuple[float, float] = (0.01, 0.05),
        groups: frozenset[str] = frozenset(),
        weight: int = 1,
        fails_to_end: int = 0,
    ) -> Disturbance:
        failures = [None] * fails_to_end

        async def begin(source: random.Random) -> str:
            self.on.add(name)
            self.together.append(frozenset(self.on))
            return f"chose {source.randint(0, 1000)}"

        async def end() -> None:
            if failures:
                failures.pop()
                raise OSError("not yet")
            self.on.discard(name)
            self.endings += 1

        return Disturbance(name=name, begin=begin, end=end, seconds=seconds, groups=groups, weight=weight)


def test_a_seed_draws_the_same_again_and_another_draws_another() -> None:
    kinds = [_Trial().disturbance(name, seconds=(1.0, 9.0)) for name in "abcdefgh"]
    first, again, other = (
        [(each.disturbance.name, each.at, each.seconds, each.seed) for each in Nemesis(kinds, seed).schedule(300.0)]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
    assert all(at + seconds <= 300.0 for _, at, seconds, _ in first)


def test_every_kind_is_drawn_as_often_as_its_weight_says() -> None:
    kinds = [_Trial().disturbance("often", weight=3), *(_Trial().disturbance(name) for name in "abc")]
    names = [each.disturbance.name for each in Nemesis(kinds, 1, pause=(1.0, 1.0)).schedule(601.0)]
    assert len(names) == 600
    assert {name: names.count(name) for name in names} == {"often": 300, "a": 100, "b": 100, "c": 100}


def test_no_more_are_on_than_may_be_and_none_of_one_group() -> None:
    one = frozenset({"one"})
    kinds = [
        *(_Trial().disturbance(name, seconds=(1.0, 30.0), groups=one) for name in "ab"),
        *(_Trial().disturbance(name, seconds=(1.0, 30.0)) for name in "cdef"),
    ]
    planned = Nemesis(kinds, 3, pause=(0.5, 2.0), at_once_max=3).schedule(1000.0)
    most = 0
    for each in planned:
        on = [other for other in planned if other.at <= each.at < other.at + other.seconds]
        most = max(most, len(on))
        assert sum(bool(other.disturbance.groups) for other in on) <= 1
    assert most == 3


async def test_what_begins_ends_and_the_timeline_says_so() -> None:
    trial = _Trial()
    lines: list[str] = []
    nemesis = Nemesis([trial.disturbance(name) for name in "abc"], 5, pause=(0.01, 0.02), report=lines.append)
    async with asyncio.timeout(_SOON_SECONDS):
        timeline = await nemesis.run(0.5)
    assert len(timeline) > 5
    assert trial.on == set()
    assert all(each.ended is not None and each.ended >= each.began for each in timeline)
    assert all(each.detail.startswith("chose ") and not each.problem for each in timeline)
    assert len(lines) == 2 * len(timeline)


async def test_one_that_takes_longer_to_end_keeps_its_group_waiting() -> None:
    trial = _Trial()
    one = frozenset({"one"})
    kinds = [trial.disturbance("a", groups=one, fails_to_end=1), trial.disturbance("b", groups=one)]
    async with asyncio.timeout(_SOON_SECONDS):
        await Nemesis(kinds, 5, pause=(0.01, 0.02)).run(0.3)
    assert all(len(each) == 1 for each in trial.together)


async def test_what_waited_beyond_the_end_does_not_happen() -> None:
    async def end() -> None:
        await asyncio.sleep(0.5)  # an end that takes longer than the run

    async def begin(_: random.Random) -> str:
        return ""

    one = frozenset({"one"})
    kinds = [Disturbance(name=name, begin=begin, end=end, seconds=(0.01, 0.02), groups=one) for name in "abcdef"]
    nemesis = Nemesis(kinds, 5, pause=(0.03, 0.03))
    assert len(nemesis.schedule(0.3)) > 1
    assert len(await nemesis.run(0.3)) == 1


async def test_one_that_cannot_begin_is_noted_and_ended() -> None:
    async def begin(_: random.Random) -> str:
        raise OSError("no such thing")

    async def end() -> None:
        ended.append(True)

    ended: list[bool] = []
    nemesis = Nemesis([Disturbance(name="a", begin=begin, end=end, seconds=(1.0, 2.0))], pause=(0.1, 0.1))
    timeline = await nemesis.run(0.15)
    assert [each.problem for each in timeline] == ["could not begin: OSError: no such thing"]
    assert ended == [True]


async def test_nothing_is_on_after_a_cancellation() -> None:
    trial = _Trial()
    kinds = [trial.disturbance(name, seconds=(100.0, 100.0)) for name in "ab"]
    run = asyncio.create_task(Nemesis(kinds, pause=(0.01, 0.02)).run(1000.0))
    async with asyncio.timeout(_SOON_SECONDS):
        while len(trial.on) < 2:  # noqa: ASYNC110 - the run sends no signal
            await asyncio.sleep(0.01)  # see above
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert trial.on == set()
    assert trial.endings == 2


@asynccontextmanager
async def _process() -> AsyncIterator[asyncio.subprocess.Process]:
    program = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SOON_SECONDS):
        while not condition():  # noqa: ASYNC110 - a process sends no signal
            await asyncio.sleep(0.01)  # see above


async def test_a_process_is_killed() -> None:
    async with _process() as process:
        kill = killed("killed", lambda: [process.pid])
        assert await kill.begin(random.Random(1)) == "killed 1 of 1"
        assert await process.wait() == -signal.SIGKILL
        assert await kill.begin(random.Random(1)) == "killed 0 of 1"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_process_is_frozen_and_continues() -> None:
    async with _process() as process:
        freeze = frozen("frozen", lambda: [process.pid], seconds=(1.0, 2.0))
        assert await freeze.begin(random.Random(1)) == "stopped 1 of 1"
        await _until(lambda: _state(process.pid) == "T")
        assert freeze.end is not None
        await freeze.end()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        assert await asyncio.wait_for(process.stdout.readline(), _SOON_SECONDS) == b"hello\n"


async def test_a_full_disk_has_no_byte_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit on the size of files in place of a small file system, which needs rights."""
    left = [3_000_001]

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= len(data)
        return real(descriptor, data)

    real = os.write
    monkeypatch.setattr(os, "write", write)
    full = full_disk("full", tmp_path, seconds=(1.0, 2.0))
    assert await full.begin(random.Random(1)) == "2 MiB taken"
    assert left == [0]
    assert [each.stat().st_size for each in tmp_path.iterdir()] == [3_000_001]
    assert full.end is not None
    await full.end()
    assert list(tmp_path.iterdir()) == []


async def test_the_faults_of_a_network_begin_and_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with asyncio.timeout(_SOON_SECONDS), listener, TcpProxy("127.0.0.1", port) as proxy:
        kinds = [
            *faults_of_networks("db", {"orders": proxy}, seconds=(0.01, 0.05)),
            lost_answers("lost", [(proxy, Exchange(b"COMMIT"))], seconds=(0.01, 0.05)),
        ]
        names = ["db-partition", "db-one-way", "db-slow", "db-half-open", "db-reset", "db-cut", "lost"]
        assert [each.name for each in kinds] == names
        timeline = await Nemesis(kinds, 2, pause=(0.01, 0.02)).run(1.0)
        assert {each.name for each in timeline} == set(names)
        assert not any(each.problem for each in timeline)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"COMMIT")
        assert await reader.readexactly(6) == b"COMMIT"
        writer.close()
