"""What the soak is made of: a clock that jumps, small disks, customers who insist, and the page of its results."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.soak import page
from tests.soak.clock import ProcessClock, why_no_clock
from tests.soak.load import Load
from tests.soak.run import Result

from freehold.testing import Happening

_CLOCK = """
import sys, threading, time
for line in sys.stdin:
    began = time.monotonic()
    time.sleep(0.01)
    threading.Event().wait(0.01)
    print(int(time.time()), time.monotonic() - began, flush=True)
"""
_FULL = """
import asyncio, pathlib, random, sys
from freehold.testing import full_disk
from tests.soak.place import mount_small, unmount
place = pathlib.Path(sys.argv[1])
mount_small(place, 4)
full = full_disk("full", place, seconds=(1.0, 1.0))
print(asyncio.run(full.begin(random.Random(1))))
try:
    (place / "more").write_bytes(b"x")
except OSError as error:
    print(error.strerror)
asyncio.run(full.end())
(place / "more").write_bytes(b"x" * 1000)
unmount(place)
"""


@pytest.mark.skipif(bool(why_no_clock()), reason=f"left out: {why_no_clock()}")
def test_the_clock_of_a_process_jumps_and_its_waits_stay_as_they_are(tmp_path: Path) -> None:
    clock = ProcessClock(tmp_path)
    pipe: Any = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _CLOCK], stdin=pipe, stdout=pipe, text=True, env={**clock.environment}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset in (0, 3600, -3600, 0):
            clock.set(offset)
            process.stdin.write("\n")
            process.stdin.flush()
            now, took = process.stdout.readline().split()
            assert abs(int(now) - time.time() - offset) < 60
            assert 0.02 <= float(took) < 60
        process.stdin.close()


def test_a_small_disk_is_full_and_has_room_again(tmp_path: Path) -> None:
    private = ["unshare", "-Urm", sys.executable, "-c", _FULL, str(tmp_path)]
    try:
        done = subprocess.run(private, check=False, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("left out: no unshare on this machine")
    if "PermissionError" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"left out: no mount namespace: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout.splitlines() == ["4 MiB taken", "No space left on device"], done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_customers_repeat_what_was_not_answered_with_the_same_key(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    statuses = itertools.cycle((503, 201, 500, 201))

    async def answer(request: web.Request) -> web.Response:
        status = 200 if request.path == "/intake" else next(statuses)
        key = request.headers.get("Idempotency-Key", "")
        seen.append((request.path, key))
        return web.json_response({"order_id": key}, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with asyncio.timeout(60), Load(f"http://127.0.0.1:{port}", 50.0, random.Random(1)) as load:
        placing = asyncio.create_task(load.run())
        while len(load.placed.order_ids) < 3:  # noqa: ASYNC110 - the load sends no signal
            await asyncio.sleep(0.01)  # see above
        placing.cancel()
        await load.finish(50.0)
    await runner.cleanup()
    keys = Counter(key for path, key in seen if path == "/orders")
    assert sorted(keys) == sorted(load.placed.order_ids)
    assert max(keys.values()) > 1
    assert load.placed.repeats > 0


def test_the_page_shows_what_a_run_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "DIRECTORY", tmp_path / "results")
    monkeypatch.setattr(page, "PAGE", tmp_path / "soak.md")
    found = Result("embedded", seed=7, minutes=2.0, faults={"any-killed": 3, "clock-jumps": 1}, kinds=5, orders=90)
    found.violations = ["orders-kept: one is missing"]
    found.left_out = ["disk full: no mount namespace"]
    found.timeline = [Happening("any-killed", 1.234, 1.3, "killed 1 of 2")]
    page.write_result(found)
    text = (tmp_path / "soak.md").read_text(encoding="utf-8")
    assert "| minutes, seed | 2, 7 |" in text
    assert "| faults, kinds | 4, 2 of 5 |" in text
    assert "| left out | disk full: no mount namespace |" in text
    assert "- **violation**: orders-kept: one is missing" in text
    assert "| `any-killed` | 3 |" in text
    assert text == page.page()
