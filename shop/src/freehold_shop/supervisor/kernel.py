"""What the supervisor needs of the operating system: forks that end with their parent, locks, shared sockets.

Imports the standard library only. Except on Linux, a child does not end with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

__all__ = [
    "bind",
    "die_with_parent",
    "fork",
    "hold_lock",
    "is_locked",
    "kill_child",
    "listen",
    "reserve",
    "send_signal",
    "wait_for_port",
]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_BACKLOG = 1024
_LOCK_FILE = "lock"
_POLL_SECONDS = 0.02


def die_with_parent(parent_pid: int, number: signal.Signals) -> None:
    """Make the kernel send us a signal when our parent ends; where it has ended already, send it now."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def fork(work: Callable[[], int], log: Path) -> int:
    """Run `work` in a child whose output goes to `log`, and return its process id; the child never returns from here.

    The child has the default signal actions, except that it ignores SIGINT, which is for the supervisor alone. It gets
    SIGKILL when we end.
    """
    parent_pid = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _in_child(work, parent_pid, log)
    return pid


def _in_child(work: Callable[[], int], parent_pid: int, log: Path) -> NoReturn:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent(parent_pid, signal.SIGKILL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        faulthandler.enable(2)  # writes the place of a crash in C code to the log
        gc.enable()
        code = work()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may return into the parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: the parent's clean-up code must not run a second time here.
        os._exit(code)


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False where the process does not exist."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def kill_child(pid: int) -> None:
    """SIGKILL a child and reap it."""
    send_signal(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def hold_lock(directory: Path, patience_seconds: float) -> int | None:
    """Take the directory's lock and return its descriptor; None where another process holds it.

    Forked children hold it too, so a new supervisor waits until the last child of a killed one has ended.
    """
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_SECONDS)  # flock has no time limit
        else:
            return descriptor


def is_locked(directory: Path) -> bool:
    """Whether a supervisor, or a child of a killed one, holds the directory's lock."""
    try:
        descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def bind(wanted_ports: tuple[int, ...]) -> socket.socket:
    """Bind to the first of these loopback ports that is free, or to any, without listening."""
    for port in (*wanted_ports, 0):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            bound.close()
            if port == 0:
                raise
        else:
            return bound
    raise AssertionError("port 0 is always the last")


def listen(wanted_ports: tuple[int, ...] = ()) -> socket.socket:
    """A listening socket that children share. While none of them runs, connections wait in its queue."""
    while True:
        bound = bind(wanted_ports)
        try:
            bound.listen(_BACKLOG)
        except OSError:
            # Another process listens on it and allows sharing: take another port.
            bound.close()
            wanted_ports = wanted_ports[1:]
        else:
            bound.setblocking(False)
            return bound


def reserve(wanted_ports: tuple[int, ...] = ()) -> socket.socket:
    """Reserve a port for a child that binds it by itself: both allow sharing, and only the child listens."""
    return bind(wanted_ports)


def wait_for_port(port: int, pid: int, patience_seconds: float) -> bool:
    """Wait until a process listens on a loopback port; false where it has ended, or at the time limit."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline and os.waitpid(pid, os.WNOHANG)[0] == 0:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
        time.sleep(_POLL_SECONDS)  # a port sends no signal when it is opened
    return False
