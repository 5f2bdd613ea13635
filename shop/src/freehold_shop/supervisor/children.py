"""The processes of a shop: started, sent the requested faults, and restarted when they end. Imports the kernel."""

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
from freehold_shop.supervisor.requested_faults import Failed, Lines, Ready, RequestedFaults, decode_line, encode_line
from freehold_shop.supervisor.state import ProcessState, RunningProcess

__all__ = ["Child", "how_it_ended", "restart_delay_seconds"]

LIVED_LONG_SECONDS = 10.0
_DELAY_SECONDS = 0.1
_DELAY_SECONDS_MAX = 5.0
_RECEIVE_BYTES = 4096


def restart_delay_seconds(failures: int) -> float:
    """The delay of a restart after so many failures in a row: none after the first, then 0.1 s, doubling to 5 s."""
    return 0.0 if failures <= 1 else min(_DELAY_SECONDS * 2.0 ** min(failures - 2, 10), _DELAY_SECONDS_MAX)


def how_it_ended(status: int | None, reason: str) -> str:
    """The end of a process in words: by its status (None: unknown), and the reason that the process gave."""
    because = f": {reason}" if reason else ""
    if status is None:
        return f"ended{because}"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with {code}{because}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}{because}"


@dataclass(slots=True)
class Child:
    """One process. `work` runs in it with its end of the socket pair; `services` are those that it runs."""

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
    ended: str = ""
    """How the last process ended: the signal or the exit code, and the reason where it gave one."""
    _reason: str = ""
    _failures: int = 0
    _born: float = 0.0
    _lines: Lines = field(default_factory=Lines)

    def start(self, requested: RequestedFaults) -> None:
        """Fork the process."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self.pid = fork(lambda: self.work(theirs), self.log)
        theirs.close()
        self.socket, self.state, self._lines, self._born = ours, ProcessState.STARTING, Lines(), time.monotonic()
        self._reason = ""
        self.restarts += 1
        self.send(requested)

    def send(self, requested: RequestedFaults) -> None:
        """Send the requested faults; a process that has ended or is stuck gets them at its restart."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.send(encode_line(requested))

    def listen(self) -> bool:
        """Read what the process has sent; true where it has become ready."""
        if self.socket is None:
            return False
        try:
            content = self.socket.recv(_RECEIVE_BYTES)
        except OSError:
            return False
        words = [decode_line(line) for line in self._lines.feed(content)]
        self._reason = next((word.reason for word in words if isinstance(word, Failed)), self._reason)
        if not any(isinstance(word, Ready) for word in words):
            return False
        self.state = ProcessState.READY
        return True

    def reap(self) -> bool:
        """Check whether the process has ended; true where it has since the last call."""
        if self.pid == 0:
            return False
        try:
            found, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            found, status = self.pid, None
        if found == 0:
            return False
        self.listen()
        self.ended = how_it_ended(status, self._reason)
        now = time.monotonic()
        self._failures = 1 if now - self._born > LIVED_LONG_SECONDS else self._failures + 1
        self.due = now + restart_delay_seconds(self._failures)
        self.pid, self.state = 0, ProcessState.WAITING
        return True

    @property
    def gave_reason(self) -> bool:
        """Whether the last process gave a reason for its end."""
        return bool(self._reason)

    @property
    def restart_seconds(self) -> float:
        """In how many seconds the process is restarted, where it has ended."""
        return max(0.0, self.due - time.monotonic())

    def hang_up(self) -> None:
        """Close the connection to a process that has ended. The socket must not be in a selector any more."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process runs."""
        if self.pid:
            send_signal(self.pid, number)

    def described(self) -> RunningProcess:
        """The process for `state.json`."""
        return RunningProcess(self.name, self.instance, self.pid, self.state, max(0, self.restarts))
