"""What a nemesis begins and ends, and ready-made ones for processes. Testing: imports the standard library."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Disturbance", "frozen", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """A kind of fault that happens to running processes.

    begin        makes it happen, with choices from the generator, and returns in a few words what it has chosen.
    end          ends it; None for one that happens once. It is called again if it raises.
    seconds      how long it lasts: the shortest and the longest.
    groups       two disturbances that share a group are not on at the same time.
    weight       how often it is drawn, compared with the others.
    """

    name: str
    begin: Callable[[random.Random], Awaitable[str]]
    end: Callable[[], Awaitable[None]] | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    groups: frozenset[str] = field(default_factory=frozenset)
    weight: int = 1


def killed(
    name: str, pids: Callable[[], Sequence[int]], *, groups: frozenset[str] = frozenset(), weight: int = 1
) -> Disturbance:
    """One of these processes, or all of them, is killed (SIGKILL). Something else has to start it again."""

    async def begin(source: random.Random) -> str:
        found = _chosen(pids(), source)
        return f"killed {_signal(found, signal.SIGKILL)} of {len(found)}"

    return Disturbance(name=name, begin=begin, groups=groups, weight=weight)


def frozen(
    name: str,
    pids: Callable[[], Sequence[int]],
    *,
    seconds: tuple[float, float],
    groups: frozenset[str] = frozenset(),
    weight: int = 1,
) -> Disturbance:
    """One of these processes, or all of them, does nothing for a time (SIGSTOP, then SIGCONT): choose it longer than a
    lease.
    """
    stopped: list[int] = []

    async def begin(source: random.Random) -> str:
        found = _chosen(pids(), source)
        stopped.extend(found)
        return f"stopped {_signal(found, signal.SIGSTOP)} of {len(found)}"

    async def end() -> None:
        _signal(stopped, signal.SIGCONT)
        stopped.clear()

    return Disturbance(name=name, begin=begin, end=end, seconds=seconds, groups=groups, weight=weight)


def _chosen(pids: Sequence[int], source: random.Random) -> Sequence[int]:
    if len(pids) > 1 and source.random() < 0.5:
        return [source.choice(pids)]
    return list(pids)


def _signal(pids: Sequence[int], number: signal.Signals) -> int:
    count = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            count += 1
    return count
