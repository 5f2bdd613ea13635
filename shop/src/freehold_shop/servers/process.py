"""A database or messaging server as a child process. May import the standard library and `freehold.errors`.

The server inherits a lock on its directory: so a second server on the same data is refused, and a restart after a kill
waits until the last orphan of the old server has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from freehold import FreeholdError

__all__ = ["Launch", "RunningServer", "ServerUnavailable", "end_process", "free_port", "server_environment"]

START_LIMIT_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 2000
_CLEAN_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class ServerUnavailable(FreeholdError):
    """A server is not installed, or did not start; the hint says what to install or where to look."""


def free_port() -> int:
    """Return a loopback TCP port that is free at this moment; another process may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True, slots=True)
class Launch:
    """How one kind of server is started, checked and stopped.

    `command` returns the command for a port. `ready` is polled with the process id and the port. `stop_signals` are
    sent in turn, each with its time limit in seconds; SIGKILL follows the last. The kernel sends `orphan_signal` when
    the thread that started it ends.
    """

    name: str
    directory: Path
    url: str
    command: Callable[[int], Sequence[str]]
    ready: Callable[[int, int], bool]
    stop_signals: Sequence[tuple[signal.Signals, float]]
    orphan_signal: signal.Signals = signal.SIGINT
    user: int | None = None
    group: int | None = None


class RunningServer:
    """A server that runs as a child process, until `stop`, the end of the `with` block, or of the starting thread.

    `kill` and `start` crash and restart it on the same port and data. The methods are not for several threads at once.
    On Linux the kernel stops the server when the thread that called `start` ends, so that no server outlives a killed
    process: call it from the main thread, or from one that lives as long as the server should.
    """

    def __init__(self, launch: Launch, port: int | None = None) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._fixed_port = port
        self.port = port or 0

    @property
    def url(self) -> str:
        """The URL to connect to; for a database server, of its first database as its first user."""
        return self._launch.url.format(port=self.port)

    @property
    def directory(self) -> Path:
        """The directory of the data and `server.log`, which stays when the server stops."""
        return self._launch.directory

    @property
    def pid(self) -> int:
        """The process id of the server; raises `ServerUnavailable` where it does not run."""
        if self._process is None:
            raise ServerUnavailable(f"{self._launch.name} is not running", hint="call start() first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, or restart on the same port and data, and wait until clients are served.

        Raises `ServerUnavailable` where that takes longer than `START_LIMIT_SECONDS`, and then leaves no process.
        """
        if self.running:
            return
        deadline = time.monotonic() + START_LIMIT_SECONDS
        attempts = 1 if self.port else 3
        with _directory_lock(self._launch.directory, deadline) as lock:
            for attempt in range(1, attempts + 1):
                port = self.port or free_port()
                if self._try_start(port, lock, deadline):
                    self.port = port
                    return
                if attempt == attempts or time.monotonic() > deadline:
                    break
        raise ServerUnavailable(
            f"{self._launch.name} did not start: {_log_tail(self._launch.directory)}",
            hint=f"see {self._launch.directory / 'server.log'}",
        )

    def stop(self) -> None:
        """Ask the server to stop and wait for it; kill it where it does not stop in time. Idempotent."""
        if self._process is not None:
            end_process(self._process, (*self._launch.stop_signals, (signal.SIGKILL, 10.0)))
            self._process = None

    def kill(self) -> None:
        """Crash the server (SIGKILL) and reap it; `start` restarts it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10.0)
            self._process = None

    def pause(self) -> None:
        """Freeze the process that listens (SIGSTOP): connections are accepted by the kernel but not answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _try_start(self, port: int, lock: int, deadline: float) -> bool:
        with (self._launch.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_die_with_parent(self._launch.orphan_signal), *self._launch.command(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._launch.directory,
                env=server_environment(),
                pass_fds=(lock,),
                # A terminal's ctrl-c reaches the whole foreground group: the server must outlive its last clients.
                start_new_session=True,
                user=self._launch.user,
                group=self._launch.group,
                extra_groups=None if self._launch.user is None else (),
            )
        ready = False
        try:
            while not ready and self._process.poll() is None and time.monotonic() < deadline:
                ready = self._launch.ready(self._process.pid, port)
                if not ready:
                    time.sleep(_POLL_SECONDS)  # a server sends no signal when it is ready
        finally:
            # Also where ctrl-c interrupts the wait: no process may stay that the caller cannot stop.
            if not ready:
                self.kill()
        return ready


def end_process(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """End and reap a process: send each signal and wait for its time limit in seconds, until the process has ended."""
    for number, limit_seconds in signals:
        if process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_seconds)
            return


def server_environment() -> Mapping[str, str]:
    """Return the environment of servers, without our settings and secrets."""
    return _CLEAN_ENVIRONMENT


@contextlib.contextmanager
def _directory_lock(directory: Path, deadline: float) -> Iterator[int]:
    """Hold the directory's lock; a child that inherits the descriptor holds it after this ends."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerUnavailable(
                        f"another server still runs on {directory}", hint="stop it, or choose another directory"
                    ) from None
            time.sleep(_POLL_SECONDS)  # flock has no time limit
        yield descriptor
    finally:
        os.close(descriptor)


def _die_with_parent(number: signal.Signals) -> Sequence[str]:
    """Return the command prefix with which the kernel sends this signal to the server when our thread ends.

    `setpriv` sets this after the change of user, which would clear it, and runs no Python between fork and exec.
    """
    if sys.platform != "linux":
        return ()
    prefix = ("setpriv", "--pdeathsig", number.name.removeprefix("SIG"))
    try:
        probe = subprocess.run([*prefix, "true"], check=False, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if probe.returncode == 0 else ()


def _log_tail(directory: Path) -> str:
    try:
        text = (directory / "server.log").read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return "it has written no log"
    return " / ".join(text.strip().splitlines()[-5:]) or "it has written no log"
