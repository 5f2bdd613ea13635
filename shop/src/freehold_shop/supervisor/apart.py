"""Work of the supervisor that needs an event loop: it is done in a child, which has one. Imports the kernel.

The supervisor itself forks, so it has no loop and no threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from freehold import FreeholdError, Unavailable
from freehold_shop.supervisor.kernel import fork, send_signal

__all__ = ["Apart", "Work"]

Work = Callable[[], Coroutine[Any, Any, object]]

_REASON_BYTES_MAX = 4096
_LOOK_SECONDS = 0.01


class Apart:
    """A coroutine function that runs in a child of ours, for `limit_seconds` at most.

    It goes on while `poll` is asked; `wait` is for what is over in a moment. `stop` ends it. `work` is called in the
    child.
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
        """Whether it is done. Raises `Unavailable`, with the reason that the child gave, where it failed."""
        if self._pid == 0:
            return True
        found, status = os.waitpid(self._pid, os.WNOHANG)
        if found:
            self._pid = 0
            reason = self._read_reason()
            if status:
                raise Unavailable(reason or f"{self._what}: it ended without a reason", hint=f"see {self._log}")
            return True
        if time.monotonic() > self._deadline:
            self.stop()
            raise Unavailable(f"{self._what}: not done in {self._limit_seconds:g} s", hint=f"see {self._log}")
        return False

    def wait(self) -> None:
        """Return when it is done. Raises `Unavailable`."""
        while not self.poll():
            time.sleep(_LOOK_SECONDS)  # waitpid has no time limit, and there is no event loop here

    def stop(self) -> None:
        """End it where it is. Idempotent."""
        if self._pid:
            send_signal(self._pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0
            self._read_reason()

    def _read_reason(self) -> str:
        try:
            return os.read(self._reason, _REASON_BYTES_MAX).decode(errors="replace")
        except BlockingIOError:
            return ""  # nothing was said; a child that was forked meanwhile holds the other end
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
