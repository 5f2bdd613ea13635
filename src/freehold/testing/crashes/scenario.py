"""What is killed and checked: the scenario that a user writes. Testing: imports the standard library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CrashScenario"]


class CrashScenario(ABC):
    """Services, the work of their clients, and what must hold after the services were killed.

    Each run has an empty directory of its own, `place`, for its databases. The runner forks a process for `life` and
    kills it; the next process begins `life` again, on what the first one has left.
    """

    life_seconds: float = 60.0
    """Time limit of a life, in real time. A life that takes longer is killed, and is a violation."""

    @contextmanager
    def surroundings(self, place: Path) -> Iterator[None]:
        """What outlives the killed process, such as an `EffectLedger` or a server. Called once in each run; the block
        has all lives and the check in it.
        """
        yield

    @abstractmethod
    async def life(self, place: Path) -> None:
        """Start the services, have the clients do what is not known to be done, and wait until nothing is in progress
        (`settled`). What an earlier life had in progress when it was killed must be completed here too.

        Raises where something is stuck.
        """

    @abstractmethod
    async def check(self, place: Path) -> Sequence[str]:
        """Return what does not hold once a life has come to its end, a sentence for each violation. Called in the
        process of the runner.
        """
