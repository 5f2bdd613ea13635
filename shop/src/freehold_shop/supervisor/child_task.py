"""A task of the supervisor that needs an event loop, run in a child process that has one. Imports the kernel.

The supervisor itself forks, so it has no event loop and no threads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from freehold import FreeholdError, Unavailable
from freehold_shop.supervisor.kernel import fork, kill_child

__all__ = ["ChildTask", "Work"]

Work = Callable[[], Coroutine[Any, Any, object]]

_REASON_BYTES_MAX = 4096
_LOOK_SECONDS = 0.01


class ChildTask:
    """A coroutine function that runs in a child process, for `limit_seconds` at most.

    `poll` asks whether it is done, and enforces the limit; `wait` blocks, for short tasks. `stop` ends it. `work` is
    called in the child.
    """

    def __init__(self, what: str, work: Work, log: Path, limit_seconds: float) -> None:
        self._what = what
        self._log = log
        self._limit_seconds = limit_seconds
        self._deadline = time.monotonic() + limit_seconds
        self._reason, theirs = os.pipe()
        os.set_blocking(self._reason, False)
        self._pid = fork(lambda: _run(work, theirs), log)
        os.close(theirs)

    def poll(self) -> bool:
        """Whether it is done. Raises `Unavailable` where it failed, with the child's reason, or took too long."""
        if self._pid == 0:
            return True
        found, status = os.waitpid(self._pid, os.WNOHANG)
        if found:
            self._pid = 0
            reason = self._read_reason()
            if status:
                raise Unavailable(reason or f"{self._what} ended without a reason", hint=f"see {self._log}")
            return True
        if time.monotonic() > self._deadline:
            self.stop()
            raise Unavailable(f"{self._what} took longer than {self._limit_seconds:g} s", hint=f"see {self._log}")
        return False

    def wait(self) -> None:
        """Return when it is done. Raises `Unavailable`."""
        while not self.poll():
            time.sleep(_LOOK_SECONDS)  # waitpid has no time limit, and there is no event loop here

    def stop(self) -> None:
        """Kill the child. Idempotent."""
        if self._pid:
            kill_child(self._pid)
            self._pid = 0
            self._read_reason()

    def _read_reason(self) -> str:
        try:
            return os.read(self._reason, _REASON_BYTES_MAX).decode(errors="replace")
        except BlockingIOError:
            return ""  # no reason was given, and a child that was forked meanwhile holds the other end open
        finally:
            os.close(self._reason)


def _run(work: Work, reason: int) -> int:
    try:
        asyncio.run(work())
    except FreeholdError as error:
        os.write(2, f"{error}\n".encode())
        os.write(reason, str(error).encode()[:_REASON_BYTES_MAX])
        return 1
    return 0
