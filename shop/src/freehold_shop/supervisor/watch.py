"""The supervisor's loop: deaths, restarts, the control socket, faults that end. No event loop, no threads: it forks.

Imports the children, the desk, the board and the state.
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
from freehold_shop.supervisor.desk import Desk
from freehold_shop.supervisor.ground import Ground
from freehold_shop.supervisor.site import ShopSite
from freehold_shop.supervisor.state import ProcessState

__all__ = ["Watch", "catch_signals"]

_log = logging.getLogger("freehold_shop.supervisor")
_TICK_SECONDS = 1.0
_REMIND_SECONDS = 60.0
_DRAIN_SECONDS = 12.0
_PROVIDER_SECONDS = 4.0


def catch_signals() -> tuple[socket.socket, set[int]]:
    """Have signals arrive as bytes in a socket, and collect those that ask us to stop."""
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
    """Keeps everything running until a signal asks to stop; `changed` is called after each change of the state."""

    children: Sequence[Child]
    provider: Child
    ground: Ground
    site: ShopSite
    board: FaultBoard
    desk: Desk
    signals: socket.socket
    asked_to_stop: set[int]
    changed: Callable[[], None]
    _server_problem: str = ""
    _told: dict[Path, tuple[str, float]] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    @property
    def ready(self) -> bool:
        """Whether every process is."""
        return all(child.state is ProcessState.READY for child in self.children)

    def run(self) -> None:
        """Start everything and keep it running until asked to stop."""
        self._selector.register(self.signals, selectors.EVENT_READ, self._drain_signals)
        self._selector.register(self.desk.listener, selectors.EVENT_READ, self._serve_client)
        self._start_due()
        self.changed()
        while not self.asked_to_stop:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            if self._reap() | self._start_due() | bool(self.board.end_due()):
                self.changed()

    def stop(self) -> None:
        """Stop services, then the provider, then the ground; each has its time, and SIGKILL follows."""
        _end(self.children, _DRAIN_SECONDS)
        _end([self.provider], _PROVIDER_SECONDS)
        self.desk.close()
        self.ground.stop()

    def _patience(self) -> float:
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
            child.start(self.site.wishes)
            if child.socket is not None:
                self._selector.register(child.socket, selectors.EVENT_READ, lambda child=child: self._listen(child))
        return bool(due)

    def _listen(self, child: Child) -> None:
        before = child.state
        if child.listen():
            self.changed()
        elif child.state is before and child.socket is not None and _has_ended(child.socket):
            self._forget(child)

    def _forget(self, child: Child) -> None:
        if child.socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.socket)

    def _reap(self) -> bool:
        died = False
        for child in self._all():
            pid = child.pid
            if child.reap():
                died = True
                self._tell_end(child, pid)
                # Before it is closed: copies that other children inherited would keep it in the selector for ever.
                self._forget(child)
                child.hang_up()
        try:
            self.ground.revive()
            self._server_problem = ""
        except FreeholdError as error:
            self._tell_server(str(error))
        return died

    def _tell_end(self, child: Child, pid: int) -> None:
        """At once what is new; of a process that ends for the same reason each time it is started, once a minute."""
        last, told_at = self._told.get(child.log, ("", 0.0))
        now = time.monotonic()
        if child.gave_reason and child.ended == last and now - told_at < _REMIND_SECONDS:
            return
        self._told[child.log] = child.ended, now
        _log.warning(
            "%s/%d (process %d) %s; starts again in %.1f s",
            child.name,
            child.instance,
            pid,
            child.ended,
            child.restart_seconds,
        )

    def _tell_server(self, problem: str) -> None:
        """Once for each problem: it is tried again every second."""
        if problem != self._server_problem:
            _log.warning("a server could not be started again: %s; tried again every %g s", problem, _TICK_SECONDS)
        self._server_problem = problem

    def _drain_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.signals.recv(4096):
                pass

    def _serve_client(self) -> None:
        self.desk.serve_one()
        self.changed()


def _has_ended(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return connection.recv(1, socket.MSG_PEEK) == b""
    return False


def _end(children: Sequence[Child], patience_seconds: float) -> None:
    """SIGTERM, wait, SIGKILL, wait. One that a fault has stopped must go on to hear of it."""
    for child in children:
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGCONT)
    deadline = time.monotonic() + patience_seconds
    while any(child.pid for child in children):
        for child in children:
            child.reap()
            if time.monotonic() > deadline:
                child.signal(signal.SIGKILL)
        time.sleep(0.01)
