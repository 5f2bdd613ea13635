"""Carries out disturbances of running processes, and notes what happened when. Testing: imports its siblings."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from freehold.testing.nemesis.disturbance import Disturbance
from freehold.testing.nemesis.schedule import Planned, draw_schedule

__all__ = ["Happening", "Nemesis"]

_RETRY_SECONDS: Final = 1.0
_END_SECONDS: Final = 300.0


@dataclass(slots=True)
class Happening:
    """A disturbance that happened. Times are seconds since the nemesis began; `ended` is None while it is on.

    detail   what it has chosen, in a few words.
    problem  why it could not begin or end; empty if it could.
    """

    name: str
    began: float
    ended: float | None = None
    detail: str = ""
    problem: str = ""


@dataclass(slots=True)
class Nemesis:
    """Disturbs running processes for a time: `await Nemesis([...], seed=7).run(600.0)`.

    The seed draws what happens, when, and for how long; what the processes do meanwhile it does not decide. Nothing is
    on any more when `run` returns or is cancelled. `timeline` has what happened, in order.

    pause        seconds between the beginnings of two disturbances: the shortest and the longest.
    at_once_max  how many are on at the same time.
    report       is called with each line of the timeline, as it happens.
    """

    disturbances: Sequence[Disturbance]
    seed: int = 0
    pause: tuple[float, float] = (1.0, 5.0)
    at_once_max: int = 2
    report: Callable[[str], None] = field(default=lambda _: None)
    timeline: list[Happening] = field(default_factory=list)
    _began: float = 0.0
    _seconds: float = 0.0
    _groups: dict[str, asyncio.Lock] = field(default_factory=dict)

    def schedule(self, seconds: float) -> Sequence[Planned]:
        """What `run` would do."""
        return draw_schedule(
            self.disturbances, seed=self.seed, seconds=seconds, pause=self.pause, at_once_max=self.at_once_max
        )

    async def run(self, seconds: float) -> Sequence[Happening]:
        """Disturb for so many seconds, end what is on, and return the timeline.

        A disturbance that cannot begin is noted, and one that cannot end is tried again for five minutes. What waited
        for it beyond the end of the run does not happen.
        """
        self._began = asyncio.get_running_loop().time()
        self._seconds = seconds
        async with asyncio.TaskGroup() as group:
            for each in self.schedule(seconds):
                group.create_task(self._carry_out(each))
        return self.timeline

    async def _carry_out(self, planned: Planned) -> None:
        await asyncio.sleep(max(0.0, planned.at - self._now()))  # the schedule says when; nothing else happens before
        async with self._alone(planned.disturbance):
            if (left := self._seconds - self._now()) <= 0:
                return
            happening = Happening(planned.disturbance.name, self._now())
            self.timeline.append(happening)
            try:
                if await self._begin(planned, happening) and planned.disturbance.end is not None:
                    await asyncio.sleep(min(planned.seconds, left))  # a fault lasts as long as it was drawn
            finally:
                await asyncio.shield(self._end(planned.disturbance, happening))

    async def _begin(self, planned: Planned, happening: Happening) -> bool:
        try:
            happening.detail = await planned.disturbance.begin(random.Random(planned.seed))
        except Exception as error:  # noqa: BLE001 - noted in the timeline
            happening.problem = f"could not begin: {_words(error)}"
        self._report(happening, "begins" if planned.disturbance.end is not None else "happens")
        return not happening.problem

    async def _end(self, disturbance: Disturbance, happening: Happening) -> None:
        """End it, also where its beginning has failed half-way."""
        deadline = self._now() + _END_SECONDS
        problem = "" if disturbance.end is None else "not ended"
        while disturbance.end is not None and problem and self._now() < deadline:
            try:
                await disturbance.end()
                problem = ""
            except Exception as error:  # noqa: BLE001 - tried again, and noted in the timeline
                problem = f"could not end: {_words(error)}"
                await asyncio.sleep(_RETRY_SECONDS)
        happening.ended = self._now()
        happening.problem = happening.problem or problem
        if disturbance.end is not None:
            self._report(happening, "ends")

    def _report(self, happening: Happening, what: str) -> None:
        words = "; ".join(each for each in (happening.detail, happening.problem) if each)
        self.report(f"{self._now():7.1f} s  {happening.name} {what}: {words}")

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    @contextlib.asynccontextmanager
    async def _alone(self, disturbance: Disturbance) -> AsyncIterator[None]:
        """Wait for those of its groups and of its name: one may take longer to end than was planned."""
        async with contextlib.AsyncExitStack() as stack:
            for group in sorted({disturbance.name, *disturbance.groups}):
                await stack.enter_async_context(self._groups.setdefault(group, asyncio.Lock()))
            yield


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
