"""An event loop in virtual time, for the tasks of several simulated processes. Testing: imports the standard library.

Time passes only when no task can run: then the clock moves to the next timer. The tasks of one process run in the order
in which they became ready, as in its own event loop; which process runs next is drawn. A process is a context variable,
which tasks inherit. The tasks of a process that has crashed never run again, not even their `finally` blocks.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

__all__ = ["PROCESS", "SimulatedProcess", "Stuck", "VirtualLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stuck(AssertionError):
    """No task can run, and none waits for a time: they wait for each other."""


class SimulatedProcess:
    """A process: its tasks, and whether it runs.

    steps        how often one of its tasks was run since its start.
    crash_after  the step at which it crashes; None for never.
    line         what it runs next, in this order.
    held         what it would run if it were not frozen.
    lost         what it would have run if it had not crashed; needed to end its tasks when the run is over.
    """

    def __init__(self, name: str, on_crash: Callable[[SimulatedProcess], None]) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.steps = 0
        self.crash_after: int | None = None
        self.line: deque[asyncio.Handle] = deque()
        self.held: list[asyncio.Handle] = []
        self.lost: list[asyncio.Handle] = []
        self._on_crash = on_crash

    def step(self) -> bool:
        """Count a step. False where the process crashes instead."""
        self.steps += 1
        if self.crash_after is not None and self.steps >= self.crash_after:
            self.crash_after = None
            self._on_crash(self)
        return self.alive


PROCESS: Final[ContextVar[SimulatedProcess | None]] = ContextVar("freehold_simulated_process", default=None)


class _Ready:
    """The handles that can run: what `asyncio` keeps in a deque, with a line for each process."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw.random
        self._outside = SimulatedProcess("", lambda _: None)
        self._busy: list[SimulatedProcess] = []

    def __len__(self) -> int:
        return sum(len(process.line) for process in self._busy)

    def __bool__(self) -> bool:
        return bool(self._busy)

    def append(self, handle: asyncio.Handle) -> None:
        """Add a handle to the line of its process, where that runs."""
        process = _context_of(handle).get(PROCESS) or self._outside
        if not process.alive:
            process.lost.append(handle)
        elif process.frozen:
            process.held.append(handle)
        else:
            if not process.line:
                self._busy.append(process)
            process.line.append(handle)

    def popleft(self) -> asyncio.Handle | None:
        """The first handle of a process that is drawn; None where that process crashes, or nothing is to be done."""
        busy = self._busy
        index = int(self._draw() * len(busy)) if len(busy) > 1 else 0
        process = busy[index]
        handle = process.line.popleft()
        if not process.line:
            busy[index] = busy[-1]
            busy.pop()
        if handle.cancelled():
            return None
        if process.step() or process is self._outside:
            return handle
        process.lost.append(handle)
        return None

    def take(self, process: SimulatedProcess) -> list[asyncio.Handle]:
        """Take the handles of a process away."""
        taken = list(process.line)
        if taken:
            process.line.clear()
            self._busy.remove(process)
        return taken

    def clear(self) -> None:
        """Forget everything."""
        for process in self._busy:
            process.line.clear()
        self._busy.clear()


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. `draw` decides which process runs next."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._seconds = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._drawn = count()
        self._ready = _Ready(draw)
        self._tasks: list[asyncio.Task[Any]] = []
        self._processes: dict[SimulatedProcess, None] = {}
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """The virtual seconds since the beginning."""
        return self._seconds

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback as soon as its process is drawn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= self._seconds:
            self._ready.append(timer)
        else:
            heappush(self._timers, (when, next(self._drawn), timer))
        return timer

    def crash(self, process: SimulatedProcess) -> None:
        """Run none of its tasks any more."""
        process.alive = False
        process.lost += [*process.held, *self._ready.take(process)]
        process.held.clear()

    def freeze(self, process: SimulatedProcess) -> None:
        """Run none of its tasks until `thaw`."""
        process.frozen = True
        process.held += self._ready.take(process)

    def thaw(self, process: SimulatedProcess) -> None:
        """Go on with its tasks; those whose time has passed meanwhile run at once."""
        process.frozen = False
        held, process.held = process.held, []
        for handle in held:
            self._ready.append(handle)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, then end all tasks that are left, those of crashed processes too, and close."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(main)
        finally:
            self._end_tasks()
            asyncio.set_event_loop(None)
            self.close()

    def _end_tasks(self) -> None:
        """Cancel what is left. Otherwise it would be closed when it is collected, in the middle of another run."""
        self.set_exception_handler(lambda _loop, _context: None)
        for process in self._processes:
            process.alive, process.frozen, process.crash_after = True, False, None
            for handle in (*process.held, *process.lost):
                self._ready.append(handle)
        for _ in range(_ROUNDS_MAX):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left, timeout=_ROUND_SECONDS))

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **keywords: Any) -> asyncio.Task[Any]:
        context: Context | None = keywords.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            self._processes[process] = None
        if len(self._tasks) >= _TASKS_KEPT:
            self._tasks = [each for each in self._tasks if not each.done()]
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **keywords)
        self._tasks.append(task)
        return task

    def _run_once(self) -> None:
        """Run all that can run, move the clock to the next timer, and so on until the loop is to stop. Raises `Stuck`
        where nothing can run and there is no timer.

        In the place of the method of `BaseEventLoop`, which asks a selector to wait after each round, and keeps timers
        that are slow to compare: a simulation spends most of its time here.
        """
        ready = self._ready
        while not self._stopping:  # type: ignore[attr-defined] # set by `BaseEventLoop.stop`
            if not ready:
                self._seconds = self._begin_timers()
            elif (handle := ready.popleft()) is not None:
                handle._run()  # noqa: SLF001 - as `BaseEventLoop` does

    def _begin_timers(self) -> float:
        """Have the timers of the next time run; returns that time."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise Stuck("every task waits, and for no time")
        now = timers[0][0]
        while timers and timers[0][0] <= now:
            self._ready.append(heappop(timers)[2])
        return now

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""


_ROUNDS_MAX: Final = 20
_ROUND_SECONDS: Final = 60.0
_TASKS_KEPT: Final = 4096


def _context_of(handle: asyncio.Handle) -> Context:
    context: Context = handle._context  # type: ignore[attr-defined] # noqa: SLF001 - it is kept nowhere else
    return context
