"""A process that is forked for one life of a scenario, and how it ended. Testing: imports the crash points.

It is forked from the process that runs the test, which has all modules imported: so a restart takes no longer than the
services themselves need. What it prints is in a file.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from freehold.crash_points import CRASH_AT, CRASH_RECORD, arm
from freehold.testing.crashes.passage import Passage

__all__ = ["Ending", "live"]

_TEXT_CHARACTERS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a life ended. `code` is that of the process, negative for a signal; None: at its time limit."""

    code: int | None
    seconds: float
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was killed, and not by its time limit."""
        return self.code == -signal.SIGKILL


def live(
    main: Callable[[], Coroutine[Any, Any, None]],
    *,
    at: Passage | None,
    record: Path,
    log: Path,
    limit_seconds: float,
) -> Ending:
    """Run `main` in a forked process, which kills itself at a passage; return how that ended.

    record, log  files to which its passages, and what it prints, are written.
    """
    began = time.monotonic()
    alive, held = os.pipe()
    with warnings.catch_warnings():
        # A thread of the test, as an `EffectLedger` has, is not in the fork, and nothing of it is used there.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(alive)
        _run(main, {CRASH_AT: str(at) if at is not None else "", CRASH_RECORD: str(record)}, log)
    os.close(held)
    try:
        # The pipe's other end is closed by the process's end, however it comes.
        in_time, _, _ = select.select([alive], [], [], limit_seconds)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(alive)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = log.read_text(encoding="utf-8", errors="replace")[-_TEXT_CHARACTERS_MAX:] if log.exists() else ""
    return Ending(code if in_time else None, time.monotonic() - began, said)


def _run(main: Callable[[], Coroutine[Any, Any, None]], armed: dict[str, str], log: Path) -> NoReturn:
    """What the process does. Nothing of its parent's is run at its end."""
    code = 1
    try:
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(opened, number)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        arm(armed)
        asyncio.run(main())
        code = 0
    except BaseException:  # noqa: BLE001 - it is written to the log, and the parent reads it there
        os.write(2, traceback.format_exc().encode())
    finally:
        sys.stdout.flush()
        os._exit(code)
