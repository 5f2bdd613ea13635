"""The processes of a shop: started, told what is wished, started again when they die. Imports the kernel and wishes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freehold_shop.supervisor.kernel import fork, send_signal
from freehold_shop.supervisor.state import ProcessState, RunningProcess
from freehold_shop.supervisor.wishes import Lines, Wishes, encode_line

__all__ = ["Child", "restart_delay_seconds"]

LIVED_LONG_SECONDS = 10.0
_DELAY_SECONDS = 0.1
_DELAY_SECONDS_MAX = 5.0
_RECEIVE_BYTES = 4096


def restart_delay_seconds(failures: int) -> float:
    """How long to wait after so many short lives in a row: nothing after the first, then 0.1 s, doubling to 5 s."""
    return 0.0 if failures <= 1 else min(_DELAY_SECONDS * 2.0 ** min(failures - 2, 10), _DELAY_SECONDS_MAX)


@dataclass(slots=True)
class Child:
    """One process. `work` runs in it, and gets its end of the socket pair; `services` are those it runs."""

    name: str
    instance: int
    services: Sequence[str]
    log: Path
    work: Callable[[socket.socket], int]
    pid: int = 0
    state: ProcessState = ProcessState.WAITING
    restarts: int = -1
    due: float = 0.0
    socket: socket.socket | None = None
    _failures: int = 0
    _born: float = 0.0
    _lines: Lines = field(default_factory=Lines)

    def start(self, wishes: Wishes) -> None:
        """Fork it."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self.pid = fork(lambda: self.work(theirs), self.log)
        theirs.close()
        self.socket, self.state, self._lines, self._born = ours, ProcessState.STARTING, Lines(), time.monotonic()
        self.restarts += 1
        self.tell(wishes)

    def tell(self, wishes: Wishes) -> None:
        """Say what is wished; a process that is gone, or stuck, hears it when it is started again."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.send(encode_line(wishes))

    def listen(self) -> bool:
        """Hear what the process says; true where it has become ready."""
        if self.socket is None:
            return False
        try:
            content = self.socket.recv(_RECEIVE_BYTES)
        except OSError:
            return False
        if not any(True for _ in self._lines.feed(content)):
            return False
        self.state = ProcessState.READY
        return True

    def reap(self) -> bool:
        """Notice its death; true where it died since the last time."""
        if self.pid == 0:
            return False
        try:
            found, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            found = self.pid
        if found == 0:
            return False
        now = time.monotonic()
        self._failures = 1 if now - self._born > LIVED_LONG_SECONDS else self._failures + 1
        self.due = now + restart_delay_seconds(self._failures)
        self.pid, self.state = 0, ProcessState.WAITING
        return True

    def hang_up(self) -> None:
        """Close the connection to a process that died; whoever waits for its events must have stopped before."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, where it lives."""
        if self.pid:
            send_signal(self.pid, number)

    def described(self) -> RunningProcess:
        """As others see it."""
        return RunningProcess(self.name, self.instance, self.pid, self.state, max(0, self.restarts))
