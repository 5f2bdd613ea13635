"""The shop, as its command line runs it. Imports the standard library only: the shop is in processes of its own.

variant  `replay PROFILE CHECKOUT`: `messages` orders of several lines each, as fast as the shop takes them. Figures:
         orders a second, and seconds to the end of an order. It fails unless every order has ended and `shop verify`
         holds.
         `idle PROFILE`: a shop without orders. Figures of a service at the median of all: percent of a core over
         `seconds`, memory (PSS) in MiB, and seconds until a killed one is ready again.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.cases.conditions import CheckFailed, Conditions, expect, given, print_figures
from benchmarks.cases.processor import cpu_seconds, private_share_mib

__all__ = ["invoice_lines"]

_COMMAND: Final = (sys.executable, "-m", "freehold_shop.cli.main")
_HEAD: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
_PRODUCTS: Final = 200
_CUSTOMERS: Final = 150
_LINES_MAX: Final = 20
_SETTLED_SECONDS: Final = 15.0
_READY_SECONDS_MAX: Final = 60.0
_KILLED: Final = "reference"


def invoice_lines(orders: int) -> Iterator[tuple[object, ...]]:
    """Lines of invoices as in the retail files, the same in each run: one to twenty an order."""
    source = random.Random(7)
    for order in range(orders):
        customer = 10_000 + source.randrange(_CUSTOMERS)
        for product in sorted(source.sample(range(_PRODUCTS), source.randint(1, _LINES_MAX))):
            at = f"2010-12-01 {8 + order // 60 % 12:02}:{order % 60:02}:00"
            price = f"{1 + product / 20:.2f}"
            quantity = source.randint(1, 6)
            yield 500_000 + order, 10_000 + product, f"ITEM {product}", quantity, at, price, customer, "United Kingdom"


def _replay(conditions: Conditions, profile: str, checkout: str) -> Mapping[str, float]:
    directory = Path(conditions.directory)
    with (directory / "orders.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEAD)
        writer.writerows(invoice_lines(conditions.messages))
    options = ["--profile", profile, "--checkout", checkout, "--json", "--state", str(directory / "state")]
    done = subprocess.run(
        [*_COMMAND, "replay", "orders.csv", *options], cwd=directory, stdout=subprocess.PIPE, check=False
    )
    summary: Mapping[str, Any] = json.loads(done.stdout)
    expect(summary["verify"]["ok"], True, "verify")
    expect(summary["confirmed"] + sum(summary["cancelled"].values()), conditions.messages, "orders that have ended")
    expect(done.returncode, 0, "exit code of the replay")
    return {"per_second": summary["orders_per_second"], "p50_s": summary["latency_seconds"]["p50"]}


async def _idle(conditions: Conditions, profile: str) -> Mapping[str, float]:
    state = Path(conditions.directory) / "state"
    options = ["--profile", profile, "--orders-per-second", "0", "--json", "--state", str(state)]
    shop = await asyncio.create_subprocess_exec(*_COMMAND, "run", *options, stdout=asyncio.subprocess.DEVNULL)
    try:
        await _until(lambda: _state(state).get("ready", False))
        await asyncio.sleep(_SETTLED_SECONDS)  # what a start leaves to do is not idleness
        pids = [each["pid"] for each in _state(state)["processes"]]
        used, began = [cpu_seconds([pid]) for pid in pids], time.monotonic()
        await asyncio.sleep(conditions.seconds)  # the time that is measured
        seconds = time.monotonic() - began
        shares = [100 * (cpu_seconds([pid]) - before) / seconds for pid, before in zip(pids, used, strict=True)]
        memory = [private_share_mib(pid) for pid in pids]
        expect([each["restarts"] for each in _state(state)["processes"]], [0] * len(pids), "restarts")
        ready = await _ready_again(state)
    finally:
        shop.send_signal(signal.SIGTERM)
        await shop.wait()
    return {"core_percent": sum(shares) / len(shares), "pss_mib": median(memory), "ready_s": ready}


async def _ready_again(state: Path) -> float:
    """Kill a service, and wait until the supervisor says that its next process is ready."""
    before = _process(state)
    os.kill(before["pid"], signal.SIGKILL)
    began = time.monotonic()
    await _until(lambda: _process(state)["pid"] not in (before["pid"], 0) and _process(state)["state"] == "ready")
    return time.monotonic() - began


def _process(state: Path) -> Mapping[str, Any]:
    return next(each for each in _state(state)["processes"] if each["service"] == _KILLED)


def _state(state: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((state / "state.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found


async def _until(condition: Any) -> None:
    end = time.monotonic() + _READY_SECONDS_MAX
    while not condition():
        if time.monotonic() > end:
            raise CheckFailed("the shop was not ready in time")
        await asyncio.sleep(0.005)  # the shop tells by a file


if __name__ == "__main__":
    conditions = given()
    what, *words = conditions.variant.split()
    print_figures(_replay(conditions, *words) if what == "replay" else asyncio.run(_idle(conditions, *words)))
