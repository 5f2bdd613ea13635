"""kill -9 of everything between steps, again and again: every saga ends once, and what holds agrees with how."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

ORDERS = 24
KILLS = 2
LIMIT_SECONDS = 200.0


def _rows(file: Path, query: str) -> list[tuple[object, ...]]:
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # not made yet


def _progress(directory: Path) -> int:
    rows = _rows(directory / "orders.db", "SELECT count(*) FROM freehold_saga_journal WHERE what = 'done'")
    return int(str(rows[0][0])) if rows else 0


def _market(directory: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.integration.saga.market", str(directory), str(ORDERS)]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=root, stderr=log)


def _kill_after(process: subprocess.Popen[bytes], directory: Path, steps: int, until: float) -> None:
    """Let it get `steps` further, then kill it where it stands."""
    goal = _progress(directory) + steps
    while _progress(directory) < goal and process.poll() is None:
        assert time.monotonic() < until, (directory / "log").read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(260)
def test_killed_again_and_again_every_saga_ends_once(tmp_path: Path) -> None:
    until = time.monotonic() + LIMIT_SECONDS
    for _ in range(KILLS):
        _kill_after(_market(tmp_path), tmp_path, steps=24, until=until)
    last = _market(tmp_path)
    assert last.wait(max(1.0, until - time.monotonic())) == 0, (tmp_path / "log").read_text()

    ends = {
        str(key): str(status) for key, status in _rows(tmp_path / "orders.db", "SELECT key, status FROM freehold_saga")
    }
    assert len(ends) == ORDERS
    assert set(ends.values()) == {"completed", "compensated"}  # some are given up while everything is down
    assert {ends[str(number)] for number in range(0, ORDERS, 4)} == {"compensated"}
    holds = Counter(
        (str(order), str(what))
        for name in ("inventory", "payments", "shipping", "notifications")
        for order, what in _rows(tmp_path / f"{name}.db", "SELECT order_id, what FROM effect")
    )
    everything = ("reserve", "hold", "ship", "capture", "notify")
    completed = [order for order, status in ends.items() if status == "completed"]
    assert holds == {(order, what): 1 for order in completed for what in everything}
    ended = "step = '' AND what IN ('completed', 'compensated')"  # of a step, the word says that it is compensated
    once = f"SELECT saga_id FROM freehold_saga_journal WHERE {ended} GROUP BY 1"
    assert _rows(tmp_path / "orders.db", f"{once} HAVING count(*) > 1") == []
