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
from typing import Any, Final, TypeVar

__all__ = ["PROCESS", "SimulatedProcess", "Stuck", "VirtualLoop"]

T = TypeVar("T")


class Stuck(AssertionError):
    """No task can run, and none waits for a time: they wait for each other."""


class SimulatedProcess:
    """A process: its tasks, and whether it runs.

    steps        how often one of its tasks was run since its start.
    crash_after  the step at which it crashes; None for never.
    held         what it would run if it were not frozen.
    lost         what it would have run if it had not crashed; needed to end its tasks when the run is over.
    """

    def __init__(self, name: str, on_crash: Callable[[SimulatedProcess], None]) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.steps = 0
        self.crash_after: int | None = None
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
        self._draw = draw
        self._lines: dict[SimulatedProcess | None, deque[asyncio.Handle]] = {}
        self._nothing: asyncio.Handle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def append(self, handle: asyncio.Handle) -> None:
        """Add a handle to the line of its process, where that runs."""
        process = _context_of(handle).get(PROCESS)
        if process is not None and not process.alive:
            process.lost.append(handle)
        elif process is not None and process.frozen:
            process.held.append(handle)
        else:
            self._lines.setdefault(process, deque()).append(handle)

    def popleft(self) -> asyncio.Handle:
        """The first handle of a process that is drawn; one that does nothing where that process crashes."""
        while lines := [process for process, line in self._lines.items() if line]:
            process = lines[self._draw.randrange(len(lines))] if len(lines) > 1 else lines[0]
            handle = self._lines[process].popleft()
            if handle.cancelled():
                return handle
            if process is None or process.step():
                return handle
            process.lost.append(handle)
        return _cancelled()

    def take(self, process: SimulatedProcess) -> list[asyncio.Handle]:
        """Take the handles of a process away."""
        return list(self._lines.pop(process, ()))

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. `draw` decides which process runs next."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._seconds = 0.0
        self._clock_resolution = 1e-9
        # `BaseEventLoop` asks a selector to wait; here that is the loop itself, which moves its clock.
        self._selector = self
        self._ready = _Ready(draw)
        self._tasks: list[asyncio.Task[Any]] = []
        self._processes: dict[SimulatedProcess, None] = {}
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """The virtual seconds since the beginning."""
        return self._seconds

    def select(self, timeout: float | None) -> list[Any]:
        """Move the clock to the next timer. Raises `Stuck` where there is none."""
        if timeout is None:
            raise Stuck("every task waits, and for no time")
        self._seconds += timeout
        return []

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

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none: no socket is opened."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""


_ROUNDS_MAX: Final = 20
_ROUND_SECONDS: Final = 60.0
_TASKS_KEPT: Final = 4096


def _context_of(handle: asyncio.Handle) -> Context:
    context: Context = handle._context  # type: ignore[attr-defined] # noqa: SLF001 - it is kept nowhere else
    return context


def _cancelled() -> asyncio.Handle:
    handle = asyncio.Handle(lambda: None, (), asyncio.get_running_loop())
    handle.cancel()
    return handle
