"""Replays end to end: real processes, both checkouts, kills in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.forking import ran
from tests.integration.shop.replay.sample import SAMPLE, write_many, write_sample
from tests.integration.shop.replay.sampling import replay_sample

from freehold_shop.replay.run import Replay
from freehold_shop.replay.session import Outcome, Wanted, replay
from freehold_shop.retail import read_rejects
from freehold_shop.supervisor.client import Shop, running_shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
START_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
MANY = 120
# Of the orders of each checkout, which go through the same shop one behind the other.
_DIGITS = {"saga": "6", "choreographed": "5"}


def _check_sample(outcome: Outcome) -> None:
    summary = outcome.summary
    assert [check for check in summary.verify.checks if not check.ok] == []
    assert summary.ok
    assert outcome.error is None
    assert summary.rows_read == SAMPLE.rows_read
    assert summary.rows_rejected == SAMPLE.rows_rejected
    assert summary.orders_placed == SAMPLE.orders_placed
    assert summary.confirmed == SAMPLE.confirmed
    assert summary.cancelled == SAMPLE.cancelled
    assert summary.returned == SAMPLE.returned
    assert summary.latency_seconds.p99 is not None


async def test_the_same_orders_come_to_the_same_with_both_checkouts(tmp_path: Path) -> None:
    async with running_shop(state_directory=tmp_path / "shop", ready_seconds=START_SECONDS) as shop:
        for checkout, digit in _DIGITS.items():
            outcome = await replay_sample(shop, tmp_path, checkout, digit)
            _check_sample(outcome)
            raw = {rejected.raw.split(b",")[0].decode() for rejected in read_rejects(outcome.rejects)}
            assert raw == {f"{digit}00{n}" for n in range(200, 204)} | {f"C{digit}00101", f"C{digit}00102"}
            again = await replay_sample(shop, tmp_path, checkout, digit)
            assert again.summary.verify.ok, "a second replay of the same file doubles nothing"
            assert again.summary.confirmed == SAMPLE.confirmed


@pytest.mark.servers
async def test_on_servers(tmp_path: Path) -> None:
    pytest.importorskip("nats")
    async with running_shop(profile="servers", state_directory=tmp_path / "shop", ready_seconds=START_SECONDS) as shop:
        for checkout, digit in _DIGITS.items():
            _check_sample(await replay_sample(shop, tmp_path, checkout, digit))


class _Killer:
    """Kills at given numbers of placed orders."""

    def __init__(self, shop: Shop, kills: dict[int, str]) -> None:
        self._shop = shop
        self._kills = dict(kills)
        self.killed: list[int] = []

    def __call__(self, run: Replay) -> None:
        for at in [at for at in self._kills if run.tally.orders_placed >= at]:
            service = self._kills.pop(at)
            self.killed += self._shop.kill_all() if service == "all" else self._shop.kill(service)


async def test_kill_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kills = {10: "orders", 30: "inventory", 50: "payments", 65: "shipping", 80: "gateway", 100: "all"}
    async with running_shop(state_directory=tmp_path / "shop", ready_seconds=START_SECONDS) as shop:
        for number, checkout in enumerate(_DIGITS):
            file = write_many(tmp_path / f"{checkout}.csv", MANY, first=number * MANY)
            killer = _Killer(shop, kills)
            wanted = Wanted([file], shop.state_directory, checkout=checkout, patience_seconds=PATIENCE_SECONDS)
            outcome = await replay(wanted, on_progress=killer)
            assert len(killer.killed) >= len(kills) - 1 + 9
            assert [check for check in outcome.summary.verify.checks if not check.ok] == []
            assert outcome.summary.ok
            assert outcome.summary.confirmed == MANY
            assert outcome.summary.returned == MANY // 5


async def test_everything_dies_at_once_and_goes_on_in_the_same_directory(tmp_path: Path) -> None:
    file = write_many(tmp_path / "many.csv", MANY)
    state = tmp_path / "shop"
    async with running_shop(state_directory=state, ready_seconds=START_SECONDS) as shop:
        replaying = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "freehold_shop.cli.main",
                "replay",
                str(file),
                "--state",
                str(state),
                "--rate",
                "20",
            ),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await _until_some_are_placed(shop)
        os.kill(shop.supervisor_pid, signal.SIGKILL)
        shop.kill_all()
        replaying.kill()
        await replaying.wait()
    completing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "freehold_shop.cli.main", "replay", str(file), "--state", str(state), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await completing.communicate()
    summary = json.loads(printed)
    assert completing.returncode == 0, summary
    assert summary["confirmed"] == MANY
    assert summary["in_flight"] == 0
    assert summary["verify"]["ok"]


async def _until_some_are_placed(shop: Shop) -> None:
    import aiohttp

    async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
        while True:
            async with session.get(shop.gateway_url + "/orders/summary") as response:
                if response.status == 200 and sum(row["number"] for row in await response.json()) >= MANY // 4:
                    return
            await asyncio.sleep(0.05)


async def _command(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "freehold_shop.cli.main", "replay", *arguments),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    return process.returncode or 0, printed.decode(), complained.decode()


def test_bad_input_is_told_and_ends_with_2(tmp_path: Path) -> None:
    replaying = partial(ran, "freehold_shop.cli.main", "replay", directory=tmp_path, environment=os.environ)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    code, printed, complained = replaying(str(wrong), "--json")
    assert (code, json.loads(printed)["error"]["kind"]) == (2, "WrongHeader")
    assert "header" in complained
    code, printed, complained = replaying("nowhere.csv")
    assert (code, printed) == (2, "")
    assert "nowhere.csv" in complained
    assert list(tmp_path.glob(".freehold/*")) == [], "nothing was started for it"


async def test_a_shop_is_started_for_the_purpose_and_cleared_away(tmp_path: Path) -> None:
    file = write_sample(tmp_path / "sample.csv")
    code, printed, complained = await _command(str(file), "--json", "--rejects", "r.csv", cwd=tmp_path)
    summary = json.loads(printed)
    assert code == 0, complained
    assert summary["confirmed"] == SAMPLE.confirmed + 1, "nobody is declined here"
    assert summary["files"] == 1
    assert "r.csv" in complained
    assert list(tmp_path.glob(".freehold/replay-*")) == []


async def test_ctrl_c_leaves_a_summary(tmp_path: Path) -> None:
    """The file comes through a pipe; no verification is made of what is half done."""
    file = write_many(tmp_path / "many.csv", MANY)
    async with running_shop(state_directory=tmp_path / "shop", single_process=True) as shop:
        with file.open("rb") as content, _listening_to_ctrl_c():
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "freehold_shop.cli.main", "replay", "-", "--rate", "2", "--json"),
                *("--state", str(shop.state_directory)),
                stdin=content,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=tmp_path,
            )
        async with asyncio.timeout(120):
            while await _orders(shop) < 3:  # noqa: ASYNC110 - another process places them
                await asyncio.sleep(0.2)
        process.send_signal(signal.SIGINT)
        printed, complained = await process.communicate()
    summary = json.loads(printed)
    assert process.returncode == 130, complained
    assert 3 <= summary["orders_placed"] < MANY
    assert (summary["verify"]["ok"], summary["verify"]["checks"]) == (False, [])
    assert b"interrupted" in complained
    assert b"Traceback" not in complained


@contextmanager
def _listening_to_ctrl_c() -> Iterator[None]:
    """Have children listen to SIGINT: what a shell runs in the background ignores it, and so would they."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _orders(shop: Shop) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{shop.gateway_url}/orders/summary") as response:
        rows = await response.json() if response.status == 200 else []
    return sum(row["number"] for row in rows)
