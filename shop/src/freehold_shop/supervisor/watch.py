"""The supervisor's loop: ended processes, restarts, the control socket, faults that end.

It forks, so it has no event loop and no threads. Imports the children, the control server, the board and the state.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from freehold import FreeholdError
from freehold_shop.faults.board import FaultBoard
from freehold_shop.supervisor.children import Child
from freehold_shop.supervisor.control_server import ControlServer
from freehold_shop.supervisor.infrastructure import Infrastructure
from freehold_shop.supervisor.site import ShopSite
from freehold_shop.supervisor.state import ProcessState

__all__ = ["Watch", "catch_signals"]

_log = logging.getLogger("freehold_shop.supervisor")
_TICK_SECONDS = 1.0
_REMIND_SECONDS = 60.0
_DRAIN_SECONDS = 12.0
_PROVIDER_SECONDS = 4.0


def catch_signals() -> tuple[socket.socket, set[int]]:
    """Make signals arrive as bytes in a socket, and collect those that request a stop."""
    asked: set[int] = set()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)

    def note(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            asked.add(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, note)
    return ours, asked


@dataclass(slots=True)
class Watch:
    """Keeps everything running until a signal requests a stop; calls `changed` after each change of the state."""

    children: Sequence[Child]
    provider: Child
    infrastructure: Infrastructure
    site: ShopSite
    board: FaultBoard
    control_server: ControlServer
    signals: socket.socket
    asked_to_stop: set[int]
    changed: Callable[[], None]
    _server_problem: str = ""
    _logged: dict[Path, tuple[str, float]] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    @property
    def ready(self) -> bool:
        """Whether every process is ready."""
        return all(child.state is ProcessState.READY for child in self.children)

    def run(self) -> None:
        """Start everything and keep it running until a stop is requested."""
        self._selector.register(self.signals, selectors.EVENT_READ, self._drain_signals)
        self._selector.register(self.control_server.listener, selectors.EVENT_READ, self._serve_client)
        self._start_due()
        self.changed()
        while not self.asked_to_stop:
            for key, _ in self._selector.select(self._wait_seconds()):
                key.data()
            if self._reap() | self._start_due() | bool(self.board.end_due()):
                self.changed()

    def stop(self) -> None:
        """Stop services, then the provider, then the infrastructure; SIGKILL follows at the time limit of each."""
        _end(self.children, _DRAIN_SECONDS)
        _end([self.provider], _PROVIDER_SECONDS)
        self.control_server.close()
        self.infrastructure.stop()

    def _wait_seconds(self) -> float:
        now = time.monotonic()
        times = [child.due for child in self._all() if child.state is ProcessState.WAITING]
        next_end = self.board.next_end()
        times += [] if next_end is None else [next_end]
        return min([_TICK_SECONDS, *(max(0.0, at - now) for at in times)])

    def _all(self) -> list[Child]:
        return [self.provider, *self.children]

    def _start_due(self) -> bool:
        due = [child for child in self._all() if child.pid == 0 and child.due <= time.monotonic()]
        for child in due:
            child.start(self.site.requested)
            if child.socket is not None:
                self._selector.register(child.socket, selectors.EVENT_READ, lambda child=child: self._listen(child))
        return bool(due)

    def _listen(self, child: Child) -> None:
        before = child.state
        if child.listen():
            self.changed()
        elif child.state is before and child.socket is not None and _has_ended(child.socket):
            self._unregister(child)

    def _unregister(self, child: Child) -> None:
        if child.socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.socket)

    def _reap(self) -> bool:
        died = False
        for child in self._all():
            pid = child.pid
            if child.reap():
                died = True
                self._log_end(child, pid)
                # Before it is closed: copies that other children inherited would keep it in the selector for ever.
                self._unregister(child)
                child.hang_up()
        try:
            self.infrastructure.revive()
            self._server_problem = ""
        except FreeholdError as error:
            self._log_server(str(error))
        return died

    def _log_end(self, child: Child, pid: int) -> None:
        """Log a new reason at once; where a process ends for the same reason at each start, log it once a minute."""
        last, logged_at = self._logged.get(child.log, ("", 0.0))
        now = time.monotonic()
        if child.gave_reason and child.ended == last and now - logged_at < _REMIND_SECONDS:
            return
        self._logged[child.log] = child.ended, now
        _log.warning(
            "%s/%d (process %d) %s; restarts in %.1f s",
            child.name,
            child.instance,
            pid,
            child.ended,
            child.restart_seconds,
        )

    def _log_server(self, problem: str) -> None:
        """Log each problem once; the restart is tried every second."""
        if problem != self._server_problem:
            _log.warning("a server could not be restarted: %s; trying again every %g s", problem, _TICK_SECONDS)
        self._server_problem = problem

    def _drain_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.signals.recv(4096):
                pass

    def _serve_client(self) -> None:
        self.control_server.serve_one()
        self.changed()


def _has_ended(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return connection.recv(1, socket.MSG_PEEK) == b""
    return False


def _end(children: Sequence[Child], patience_seconds: float) -> None:
    """SIGTERM, wait, SIGKILL, wait. SIGCONT lets a process that a fault has stopped receive SIGTERM."""
    for child in children:
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGCONT)
    deadline = time.monotonic() + patience_seconds
    while any(child.pid for child in children):
        for child in children:
            child.reap()
            if time.monotonic() > deadline:
                child.signal(signal.SIGKILL)
        time.sleep(0.01)  # waitpid has no time limit, and there is no event loop here
