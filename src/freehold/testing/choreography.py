"""Explores a choreography: the handlers of several services, and everything that may happen to the messages between
them. Testing: imports the runtime.

    report = explore_choreography(PlacedOrder)
    assert report.ends.keys() == {"confirmed", "cancelled"}
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from freehold.service import Service
from freehold.testing.choices import Choices, all_choices
from freehold.testing.choreography_stage import Stage, StuckMessage

__all__ = ["Choreography", "ChoreographyReport", "ChoreographyViolation", "explore_choreography"]

_LINES_MAX: Final = 60
_names: Final = count()


class Choreography(ABC):
    """What is explored. One object a run.

    settings  settings of all services, as for `Settings`.
    """

    settings: Mapping[str, Any] = {}

    @abstractmethod
    def services(self) -> Sequence[Service]:
        """The services; they must orchestrate no saga that the process starts."""

    async def prepare(self, stage: Stage) -> None:  # noqa: B027 - most processes need nothing before they begin
        """Write what is there before the process begins. Nothing fails, and every message arrives."""

    @abstractmethod
    async def begin(self, stage: Stage) -> None:
        """Begin the process: `async with stage.transaction("orders") as tx: …`."""

    @abstractmethod
    async def check(self, stage: Stage) -> str | None:
        """Raise `AssertionError` for what does not hold, once nothing is on its way and no deadline is left. Returns
        the name of this end, which the report counts.
        """


class ChoreographyViolation(AssertionError):
    """A run does not end as declared. The text is its story, with the call that repeats it.

    faults  the combination, for `explore_choreography(…, only=faults)`.
    """

    def __init__(self, story: str, faults: Mapping[str, str]) -> None:
        super().__init__(story)
        self.faults = dict(faults)


@dataclass(slots=True)
class ChoreographyReport:
    """The result: how many different runs there are, and how many had each end. `left_out` says in words what was not
    explored.
    """

    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    left_out: Sequence[str] = ()

    def __str__(self) -> str:
        ends = ", ".join(f"{number} {end}" for end, number in sorted(self.ends.items()))
        left_out = "".join(f"\nleft out: {each}" for each in self.left_out)
        return f"{self.runs} runs: {ends}{left_out}"


def explore_choreography(
    make: Callable[[], Choreography],
    *,
    faults_max: int = 1,
    directory: Path | None = None,
    runs_max: int = 20_000,
    only: Mapping[str, str] | None = None,
) -> ChoreographyReport:
    """Run the choreography with every combination of at most `faults_max` faults, and check the end of each run.

    Faults: `MessageFault` for each message to each consumer; a message that arrives before an older one of another key
    or topic; a deadline that is due while messages are on their way. Outcomes that `Stage.choose` asks for are all
    explored, and are no faults. The services run on databases in memory, or where `directory` is given on SQLite files
    there; `prepare` is called once for these, and once a run in memory.

    Raises `ChoreographyViolation` with the story of a run with as few faults as possible, and `ValueError` for more
    than `runs_max` runs. `only` repeats one combination. Must not be called within an event loop.
    """
    ground = _Ground(make, directory)
    with _quiet():
        if only is not None:
            choices = Choices.of(only)
            report = ChoreographyReport(1, Counter([ground.run(choices)]), ["all other combinations"])
            choices.check_used()
            return report
        report, cut = ChoreographyReport(), False
        for choices in all_choices(faults_max, runs_max):
            try:
                report.ends[ground.run(choices)] += 1
            except ChoreographyViolation as violation:
                raise _simplest(ground, violation, runs_max) from None
            report.runs += 1
            cut = cut or choices.cut
    report.left_out = [f"combinations of more than {faults_max} faults"] if cut else []
    return report


class _Ground:
    """Where the runs take place. On SQLite each run has a copy of the prepared files."""

    def __init__(self, make: Callable[[], Choreography], directory: Path | None) -> None:
        self._make = make
        self._prepared = None if directory is None else directory / "prepared"
        self._files = None if directory is None else directory / "run"
        if self._prepared is not None:
            self._prepared.mkdir(parents=True)
            asyncio.run(self._prepare(self._prepared))

    def run(self, choices: Choices) -> str:
        """One run; returns the name of its end. Raises `ChoreographyViolation`."""
        state = random.getstate()
        random.seed(0)
        try:
            return asyncio.run(self._run(choices))
        finally:
            random.setstate(state)

    async def _prepare(self, files: Path) -> None:
        choreography, stage = self._make(), Stage(Choices.of({}))
        try:
            await stage.open(choreography.services(), lambda name: _url(files, name), choreography.settings)
            await choreography.prepare(stage)
            await stage.run()
        finally:
            await stage.close()

    async def _run(self, choices: Choices) -> str:
        choreography = self._make()
        stage = Stage(choices)
        try:
            await self._open(choreography, stage)
            try:
                await choreography.begin(stage)
                await stage.run()
                return await choreography.check(stage) or "ended"
            except (AssertionError, StuckMessage) as error:
                what = str(error).partition("\n")[0] or "an assertion without a text does not hold"
                raise ChoreographyViolation(self._story(stage, choices, what), choices.named) from error
        finally:
            await stage.close()

    async def _open(self, choreography: Choreography, stage: Stage) -> None:
        services = choreography.services()
        if self._prepared is None or self._files is None:
            name = f"memory://choreography-{next(_names)}"
            await stage.open(services, lambda service: f"{name}/{service}", choreography.settings)
            with stage.without_faults():
                await choreography.prepare(stage)
                await stage.run()
            return
        files = self._files
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(self._prepared, files)
        await stage.open(services, lambda service: _url(files, service), choreography.settings, prepared=True)

    def _story(self, stage: Stage, choices: Choices, what: str) -> str:
        name = getattr(self._make, "__qualname__", repr(self._make)).rpartition(".")[2]
        width = max((len(who) for who, _ in stage.lines), default=0)
        lines = [f"  {who:<{width}}  {line}" for who, line in stage.lines]
        if len(lines) > _LINES_MAX:
            half = _LINES_MAX // 2
            lines = [*lines[:half], f"  … {len(lines) - 2 * half} more events …", *lines[-half:]]
        combination = "; ".join(f"{about}: {chosen}" for about, chosen in choices.named.items()) or "none"
        where = ", directory=…" if self._prepared is not None else ""
        return "\n".join(
            [
                f"{name}: {what}",
                f"faults and outcomes: {combination}",
                "what happened:",
                *lines,
                f"again: explore_choreography({name}{where}, only={dict(choices.named)!r})",
            ]
        )


def _url(files: Path, service: str) -> str:
    return f"sqlite:///{files}/{service}.db?synchronous=normal"


def _simplest(ground: _Ground, found: ChoreographyViolation, runs_max: int) -> ChoreographyViolation:
    """A violation with the fewest faults. The one that was found may have more than it needs."""
    for faults_max in range(len(found.faults)):
        for choices in all_choices(faults_max, runs_max):
            try:
                ground.run(choices)
            except ChoreographyViolation as violation:
                return violation
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Handlers fail on purpose: write no logs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
