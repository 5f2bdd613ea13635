"""Groups of tasks, and what they leave behind in the task that waits for them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from freehold.tasks import HandlerAborted, TaskGroup, TimeLimit, contained


async def _fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("planned")


async def _hang() -> None:
    await asyncio.Event().wait()


async def test_a_failure_cancels_the_others_and_is_raised() -> None:
    hanging: list[asyncio.Task[None]] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup() as group:
            hanging.append(group.create_task(_hang()))
            group.create_task(_fail())
    assert [type(each) for each in caught.value.exceptions] == [ValueError]
    assert hanging[0].cancelled()


async def test_a_failure_leaves_no_request_for_cancellation() -> None:
    """Otherwise a timeout around it would end in a cancellation that nobody requested."""
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            for _ in range(3):
                with pytest.raises(ExceptionGroup):
                    async with TaskGroup() as group:
                        group.create_task(_fail())
                assert task.cancelling() == 0
            await _hang()


async def test_a_cancellation_of_the_waiting_task_cancels_the_others_and_is_never_lost() -> None:
    inner: list[asyncio.Task[None]] = []

    async def stubborn() -> None:
        try:
            await _hang()
        finally:
            raise ValueError("planned")

    async def wait() -> None:
        async with TaskGroup() as group:
            inner.append(group.create_task(_hang()))
            group.create_task(stubborn())

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert inner[0].cancelled()


async def test_an_exception_in_the_body_cancels_the_tasks() -> None:
    inner: list[asyncio.Task[None]] = []

    async def fail_in_the_body() -> None:
        async with TaskGroup() as group:
            inner.append(group.create_task(_hang()))
            raise KeyError("planned")

    with pytest.raises(ExceptionGroup) as caught:
        await fail_in_the_body()
    assert [type(each) for each in caught.value.exceptions] == [KeyError]
    assert inner[0].cancelled()


async def test_no_task_begins_while_the_others_are_cancelled() -> None:
    group = TaskGroup()

    async def begin_another() -> None:
        try:
            await _hang()
        finally:
            group.create_task(_hang())

    with pytest.raises(ExceptionGroup) as caught:
        async with group:
            group.create_task(begin_another())
            await asyncio.sleep(0)
            group.create_task(_fail())
    assert {type(each) for each in caught.value.exceptions} == {ValueError, RuntimeError}


async def test_a_request_that_a_handlers_own_group_has_left_behind_is_taken_back() -> None:
    """Otherwise the next handler that is cancelled by something of its own would end the loop that called it."""
    with pytest.raises(ExceptionGroup), contained():
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail())
    with pytest.raises(HandlerAborted), contained():
        raise asyncio.CancelledError


async def test_a_call_that_takes_too_long_is_ended_and_the_next_has_its_own_limit() -> None:
    task = asyncio.current_task()
    assert task is not None
    with closing(TimeLimit()) as limit:
        for _ in range(2):
            with pytest.raises(TimeoutError), limit.of(0.01):
                await _hang()
            assert limit.expired
            assert not task.cancelling()
        with limit.of(0.0), contained():
            pass
        with limit.of(60.0):
            await asyncio.sleep(0)
        assert not limit.expired


@pytest.mark.parametrize("seconds", [(0.01, 60.0), (60.0, 0.01)])
async def test_the_timer_of_one_call_is_not_the_limit_of_the_next(seconds: tuple[float, float]) -> None:
    """A shorter limit ends its call in time; the timer of a shorter one before ends no call that may take longer."""
    first, second = seconds
    with closing(TimeLimit()) as limit:
        with limit.of(first):
            pass
        try:
            with limit.of(second):
                await asyncio.sleep(0.1)  # longer than the short limit, which is what is tested
        except TimeoutError:
            assert limit.expired
        assert limit.expired == (second < 1.0)


async def test_calls_one_after_the_other_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, list[object]()

    def counted(*given: Any, **named: Any) -> asyncio.TimerHandle:
        timers.append(given)
        return call_at(*given, **named)

    monkeypatch.setattr(loop, "call_at", counted)
    with closing(TimeLimit()) as limit:
        for _ in range(100):
            with limit.of(60.0):
                await asyncio.sleep(0)
    assert len(timers) == 1


async def test_a_request_to_end_the_task_is_not_taken_for_the_time_limit() -> None:
    async def work() -> None:
        with closing(TimeLimit()) as limit, limit.of(0.01):
            try:
                await _hang()
            finally:
                working.cancel()  # as somebody else would, while the limit ends the call
                assert limit.expired

    working = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await working
    assert working.cancelled()
