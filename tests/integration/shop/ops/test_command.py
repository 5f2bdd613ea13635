"""`shop` as people type it: exit codes, JSON on standard output, ctrl-c."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.forking import ran
from tests.integration.shop.ops.customers import get, until

from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Engine
from freehold_shop.supervisor.state import process_lives, read_state, write_engines

pytestmark = pytest.mark.timeout(600)
MODULE = "freehold_shop.cli.main"
COMMAND = [sys.executable, "-m", MODULE]


def shop_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as place:
        code, out, err = ran(MODULE, *arguments, directory=Path(place), environment=os.environ)
    return subprocess.CompletedProcess(arguments, code, out, err)


@contextmanager
def typed_run(state_directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`shop run` in a session of its own, and the document it prints when it is ready."""
    command = [*COMMAND, "run", "--json", "--state", str(state_directory), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                line = process.stdout.readline()
                assert line, "it ended before it was ready"
                text += line
            yield process, json.loads(text)
        finally:
            if process.poll() is None:
                process.kill()


def test_another_engine_than_that_of_the_data_is_wrong_usage(tmp_path: Path) -> None:
    write_engines(tmp_path, {"orders": Engine.MARIADB})
    options = ("--profile", "servers", "--engine", "orders=postgresql", "--state", str(tmp_path))
    refused = shop_command("run", *options)
    assert refused.returncode == 2, refused.stderr
    reason = " ".join(refused.stderr.split())
    assert "the data of orders in" in reason
    assert "are on mariadb, not on postgresql" in reason
    assert "leave out --engine orders=postgresql" in reason


def test_faults_are_listed_begun_and_ended(shop: Shop) -> None:
    place = ("--state", str(shop.state_directory))
    said = shop_command("break", "payments-slow", *place)
    assert said.stderr.splitlines()[-1].endswith(f"shop heal payments-slow --state {shop.state_directory}")
    begun = shop_command("break", "payments-slow", *place, "--json")
    assert (begun.returncode, json.loads(begun.stdout)["faults"][0]["on"]) == (0, True)
    listed = shop_command("faults", *place)
    assert "payments-slow" in listed.stdout
    assert "on" in listed.stdout
    healed = shop_command("heal", *place, "--json")
    assert [each["name"] for each in json.loads(healed.stdout)["faults"]] == ["payments-slow"]


def test_wrong_usage_is_2(shop: Shop) -> None:
    place = ("--state", str(shop.state_directory))
    for arguments in (("break", "thunder", *place), ("run", *place), ("run", "--instances", "orders"), ("dance",)):
        answer = shop_command(*arguments)
        assert (answer.returncode, answer.stdout) == (2, ""), arguments
        assert answer.stderr
    assert str(shop.supervisor_pid) in shop_command("run", *place).stderr


def test_a_shop_that_does_not_run_is_3(tmp_path: Path) -> None:
    answer = shop_command("faults", "--state", str(tmp_path), "--json")
    assert answer.returncode == 3
    assert json.loads(answer.stdout)["error"]["kind"] == "ShopNotRunning"
    assert "shop run" in answer.stderr


def test_a_list_is_not_folded_into_a_pipe(shop: Shop) -> None:
    listed = shop_command("faults", "--state", str(shop.state_directory)).stdout.splitlines()
    states = json.loads(shop_command("faults", "--state", str(shop.state_directory), "--json").stdout)["faults"]
    assert len(listed) == len(states) + 1
    assert {each["description"] for each in states} <= {line.split(maxsplit=2)[2].strip() for line in listed[1:]}


async def test_orders_keep_coming_until_ctrl_c(state_directory: Path) -> None:
    with typed_run(state_directory, "--orders-per-second", "10") as (process, document):
        url = document["urls"]["gateway"]

        async def some_confirmed() -> bool:
            status, rows = await get(f"{url}/orders/summary")
            return status == 200 and sum(row["number"] for row in rows if row["status"] == "confirmed") >= 5

        await until(some_confirmed, "five orders are confirmed")
        pids = [document["pid"], *(pid for pids in read_state(state_directory).pids().values() for pid in pids)]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(90) == 0
    assert not any(process_lives(pid) for pid in pids)


async def test_the_shop_ends_when_the_command_is_killed(state_directory: Path) -> None:
    with typed_run(state_directory, "--orders-per-second", "0") as (process, document):
        process.kill()
        process.wait(60)

        async def ended() -> bool:
            return not process_lives(document["pid"])

        await until(ended, "the supervisor has ended")
