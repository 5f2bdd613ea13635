"""The event loop of services: which it is, and that what the runtime relies on holds on both implementations."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

import pytest

from freehold.lifecycle import Runner
from freehold.runtime import new_event_loop
from freehold.runtime.event_loop import loop_name
from freehold.runtime.startup_log import log_settings

uvloop = pytest.importorskip("uvloop", reason="uvloop is an extra")

Loop = Callable[[], asyncio.AbstractEventLoop]
both = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def test_services_run_on_uvloop_where_it_is_installed() -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert loop_name(runner.get_loop()) == f"uvloop {uvloop.__version__}"


def test_services_run_on_asyncio_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert loop_name(runner.get_loop()) == "asyncio"


@both
def test_the_start_of_services_logs_the_loop(factory: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def start() -> str:
        log_settings([])
        return loop_name(asyncio.get_running_loop())

    with caplog.at_level(logging.INFO, "freehold.runtime"), asyncio.Runner(loop_factory=factory) as runner:
        name = runner.run(start())
    assert f"event loop: {name}" in caplog.messages


@both
def test_a_time_limit_cancels_and_the_cancellation_is_taken_back(factory: Loop) -> None:
    async def limited() -> int:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        return task.cancelling()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(limited()) == 0


@both
def test_a_signal_wakes_the_loop(factory: Loop) -> None:
    async def signalled() -> None:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, asked.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(asked.wait(), 60)
        assert loop.remove_signal_handler(signal.SIGUSR1)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(signalled())


@both
def test_a_subprocess_ends_in_the_loop(factory: Loop) -> None:
    async def child() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        return await asyncio.wait_for(process.wait(), 60)

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(child()) == 7


class _Idle(Runner):
    def __init__(self) -> None:
        super().__init__("idle")
        self.rounds: asyncio.Queue[None] = asyncio.Queue()

    async def run(self) -> None:
        """Idle, and be woken."""
        while not self.stopping:
            self.rounds.put_nowait(None)
            await self.wait(600)


@both
def test_a_runner_is_woken_and_stopped_on_either_loop(factory: Loop) -> None:
    async def woken() -> int:
        runner = _Idle()
        await runner.start()
        async with asyncio.timeout(60):
            await runner.rounds.get()
            runner.wake()
            await runner.rounds.get()
            await runner.stop()
        return runner.rounds.qsize()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(woken()) == 0


@both
def test_a_cancelled_task_cleans_up_before_the_loop_closes(factory: Loop) -> None:
    cleaned: list[bool] = []

    async def working() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def left_behind() -> None:
        left.append(asyncio.create_task(working()))
        await asyncio.sleep(0)

    left: list[asyncio.Task[None]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(left_behind())
    assert cleaned == [True]
