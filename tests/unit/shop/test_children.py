"""What is told of a process that ends: by what, why, and when it is started again."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold_shop.supervisor.children import Child, how_it_ended
from freehold_shop.supervisor.requested_faults import Failed, Ready, RequestedFaults, encode_line
from freehold_shop.supervisor.state import ProcessState


def _exits_with_a_reason(supervisor: socket.socket) -> int:
    supervisor.send(encode_line(Failed("orders: the database is read-only (SQLITE_READONLY)")))
    return 3


def _is_killed(supervisor: socket.socket) -> int:
    supervisor.send(encode_line(Ready()))
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _ends(supervisor: socket.socket) -> int:
    return 0


def _has_a_bug(supervisor: socket.socket) -> int:
    raise RuntimeError


def _crashes(supervisor: socket.socket) -> int:
    signal.raise_signal(signal.SIGSEGV)
    return 0


@pytest.mark.parametrize(
    ("work", "ended"),
    [
        (_exits_with_a_reason, "exited with 3: orders: the database is read-only (SQLITE_READONLY)"),
        (_is_killed, "was killed by SIGKILL"),
        (_ends, "exited with 0"),
        (_has_a_bug, "exited with 70"),
        (_crashes, "was killed by SIGSEGV"),
    ],
)
def test_the_end_of_a_process_is_told_with_its_reason(
    work: Callable[[socket.socket], int], ended: str, tmp_path: Path
) -> None:
    child = Child("orders", 1, ["orders"], tmp_path / "orders-1.log", work)
    for _ in range(2):
        child.start(RequestedFaults())
        deadline = time.monotonic() + 30
        while not child.reap():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert (child.ended, child.state) == (ended, ProcessState.WAITING)
        assert child.gave_reason == (work is _exits_with_a_reason)
        child.hang_up()
    assert 0.0 < child.restart_seconds <= 0.1


def test_a_signal_without_a_name_has_its_number() -> None:
    assert how_it_ended(40, "") == "was killed by signal 40"
    assert how_it_ended(None, "") == "ended"


def test_where_a_process_crashed_stands_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "orders-1.log"
    child = Child("orders", 1, ["orders"], log, _crashes)
    child.start(RequestedFaults())
    deadline = time.monotonic() + 30
    while not child.reap():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.hang_up()
    assert "Segmentation fault" in log.read_text()
    assert "in _crashes" in log.read_text()
