"""A process that kills itself at a random moment of its work, however busy the machine is that watches it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

__all__ = ["DELAY_SECONDS_MAX", "Doom", "killed"]

DELAY_SECONDS_MAX = 0.05


class Doom:
    """SIGKILL to the own process, up to `DELAY_SECONDS_MAX` after so many events were handled; 0 is never.

    It comes before `within` more are handled, where that is given: how many that delay takes depends on the machine.
    """

    def __init__(self, events: int, within: int | None = None) -> None:
        self._left = events
        self._doomed = events > 0
        self._last = -within if self._doomed and within is not None else None

    def handled(self, events: int = 1) -> None:
        """Note what was handled, committed or not."""
        self._left -= events
        if self._last is not None and self._left <= self._last:
            _die(0)
        if self._doomed and self._left <= 0:
            self._doomed = False
            threading.Thread(target=_die, args=(random.random() * DELAY_SECONDS_MAX,), daemon=True).start()


def killed(returncode: int | None) -> bool:
    """Whether a process ended so."""
    return returncode == -signal.SIGKILL


def _die(delay_seconds: float) -> None:
    time.sleep(delay_seconds)
    os.kill(os.getpid(), signal.SIGKILL)
