"""Faults of a simulated run: what they are, and how a seed draws them. Testing: imports the standard library."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["ALL_FAULTS", "Fault", "FaultKind", "draw_faults"]


class FaultKind(StrEnum):
    """What goes wrong, and for whom."""

    CRASH = "crash"
    """A process ends between any two steps, as by SIGKILL, and is started again."""
    FREEZE = "freeze"
    """A process does nothing for a time, as by SIGSTOP."""
    CLOCK = "clock-step"
    """The wall clock of a process jumps."""
    DATABASE_AWAY = "database-away"
    """The database of a service cannot be reached."""
    DATABASE_READ_ONLY = "database-read-only"
    """The database of a service takes no writes: its disk is full, or it is a standby."""
    DATABASE_SLOW = "database-slow"
    """Each call of the database takes a hundred times as long."""
    COMMIT_UNKNOWN = "commit-answer-lost"
    """Some commits of a service are carried out, and their answers are lost."""
    BROKER_AWAY = "broker-away"
    """The broker cannot be reached by any process."""
    BROKER_CUT = "broker-cut"
    """The broker cannot be reached by one process."""
    BROKER_SLOW = "broker-slow"
    """Each call of the broker takes a hundred times as long."""
    PUBLISH_UNKNOWN = "confirmation-lost"
    """Some published messages are stored, and their confirmations are lost: they are published again."""
    HANDLER_FAILS = "handler-fails"
    """Some calls of a service's handlers raise, after they have done their work."""
    HANDLER_SLOW = "handler-slow"
    """Calls of a service's handlers take some seconds."""


ALL_FAULTS: Final = frozenset(FaultKind)
_OF_PROCESSES: Final = frozenset({FaultKind.CRASH, FaultKind.FREEZE, FaultKind.CLOCK, FaultKind.BROKER_CUT})
_OF_THE_BROKER: Final = frozenset({FaultKind.BROKER_AWAY, FaultKind.BROKER_SLOW, FaultKind.PUBLISH_UNKNOWN})
_SECONDS_MAX: Final[Mapping[FaultKind, float]] = {
    FaultKind.FREEZE: 40.0,
    FaultKind.HANDLER_FAILS: 4.0,
    FaultKind.HANDLER_SLOW: 10.0,
}
_FAULTS_MAX: Final = 8
_CRASHES_MAX: Final = 4
"""Of one run: a message beside which a process crashes more often is a dead letter, as `crash_attempts_max` says."""
_CRASH_WEIGHT: Final = 4
_STEP_EXPONENT_MAX: Final = 13.0
_CLOCK_SECONDS_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a run.

    target   the process (`orders/1`) or service that it befalls; empty for the broker.
    at       when it begins, in virtual seconds.
    seconds  how long it lasts; of the clock, by how much it jumps; of a crash, 0: the process is started again at once.
    steps    of a crash: how many more steps the process does after `at`.
    """

    kind: FaultKind
    target: str
    at: float
    seconds: float
    steps: int = 0

    def __str__(self) -> str:
        whom = self.target or "the broker"
        match self.kind:
            case FaultKind.CRASH:
                return (
                    f"{self.at:.3f} s: {whom} crashes {self.steps} steps later, and starts {self.seconds:.1f} s after"
                )
            case FaultKind.CLOCK:
                return f"{self.at:.3f} s: the clock of {whom} jumps by {self.seconds:+.0f} s"
            case _:
                return f"{self.at:.3f} s: {self.kind.value} of {whom} for {self.seconds:.1f} s"


def draw_faults(
    seed: int, processes: Mapping[str, Collection[str]], *, seconds: float, kinds: Collection[FaultKind] = ALL_FAULTS
) -> Sequence[Fault]:
    """Draw up to eight faults, in the order of their beginning. `processes` are those of each service; `seconds` is the
    time within which faults begin.
    """
    draw = random.Random(f"faults of {seed}")
    # A crash is the fault that can happen at the most places.
    possible = sorted(kinds) + ([FaultKind.CRASH] * _CRASH_WEIGHT if FaultKind.CRASH in kinds else [])
    found: list[Fault] = []
    for _ in range(draw.randint(0, _FAULTS_MAX) if possible else 0):
        kind = draw.choice(possible)
        if kind is FaultKind.CRASH and sum(each.kind is kind for each in found) >= _CRASHES_MAX:
            continue
        found.append(_fault(draw, kind, processes, seconds))
    return sorted(found, key=lambda each: (each.at, each.kind, each.target))


def _fault(draw: random.Random, kind: FaultKind, processes: Mapping[str, Collection[str]], seconds: float) -> Fault:
    names = sorted(processes)
    target = ""
    if kind in _OF_PROCESSES:
        target = draw.choice(sorted(each for name in names for each in processes[name]))
    elif kind not in _OF_THE_BROKER:
        target = draw.choice(names)
    at = round(draw.uniform(0.0, seconds), 3)
    if kind is FaultKind.CLOCK:
        return Fault(kind, target, at, round(draw.uniform(-_CLOCK_SECONDS_MAX, _CLOCK_SECONDS_MAX)))
    if kind is FaultKind.CRASH:
        return Fault(kind, target, at, 0.0, int(2 ** draw.uniform(0.0, _STEP_EXPONENT_MAX)))
    return Fault(kind, target, at, round(draw.uniform(0.05, _SECONDS_MAX.get(kind, seconds / 2)), 3))
