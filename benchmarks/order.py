"""`python -m benchmarks order`: what one order of the shop costs, by service: processor time, commits, rows, messages.

    make bench ARGS="order"                                  400 orders on servers, orchestrated
    make bench ARGS="order --profile embedded --checkout choreographed --orders 200"

The shop runs its own servers. Processor time is that of the processes of a service (*client*) and of its sessions on
PostgreSQL (*server*), from the first order to the last; what the shop does without orders in this time is in it, so
run it on a quiet machine. Commits and rows are PostgreSQL's own counts, `HOT` the share of its updates that wrote no
index, and messages those handled by the service (receipts) and confirmed by the broker. It fails where `shop verify`
does. Imports the cases and the drivers.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from benchmarks.cases.conditions import expect
from benchmarks.cases.processor import cpu_seconds, family
from benchmarks.cases.shop import invoice_lines

__all__ = ["main"]

_COMMAND: Final = (sys.executable, "-m", "freehold_shop.cli.main")
_HEAD: Final = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
_READY_SECONDS_MAX: Final = 120.0
_STATISTICS_SECONDS: Final = 1.5
"""Sessions tell their counts at the end of a transaction, at most once a second."""
_COUNTS: Final = """
SELECT
    (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits,
    (SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables) AS inserts,
    (SELECT coalesce(sum(n_tup_upd), 0) FROM pg_stat_user_tables) AS updates,
    (SELECT coalesce(sum(n_tup_hot_upd), 0) FROM pg_stat_user_tables) AS hot,
    (SELECT count(*) FROM freehold_inbox) AS handled,
    (SELECT count(*) FROM freehold_outbox_sent) AS published"""
_COLUMNS: Final = ("client ms", "server ms", "commits", "inserts", "updates", "hot", "handled", "published")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks order", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", choices=["servers", "embedded"], default="servers")
    parser.add_argument("--checkout", choices=["saga", "choreographed"], default="saga")
    parser.add_argument("--orders", type=int, default=400)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="order-") as name, _shop(Path(name), options.profile) as state:
        orders = Path(name) / "orders.csv"
        with orders.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_HEAD.split(","))
            writer.writerows(invoice_lines(options.orders))
        before = _measured(state)
        summary = _replayed(orders, state, options.checkout)
        after = _measured(state)
    print(f"{options.profile}, {options.checkout}: {options.orders} orders, {summary['orders_per_second']} a second\n")
    print("\n".join(_lines(before, after, options.orders)))
    return 0


@contextmanager
def _shop(directory: Path, profile: str) -> Iterator[Path]:
    """A shop without orders; yields its state directory."""
    directory.chmod(0o755)  # PostgreSQL is another user where we are root
    state = directory / "state"
    options = ["--profile", profile, "--orders-per-second", "0", "--json", "--state", str(state)]
    shop = subprocess.Popen([*_COMMAND, "run", *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _READY_SECONDS_MAX
        while not (state / "state.json").exists() or not _read(state, "state.json")["ready"]:
            if shop.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the shop was not ready in time")
            time.sleep(0.1)  # the shop tells by a file
        yield state
    finally:
        shop.terminate()
        shop.wait()


def _replayed(orders: Path, state: Path, checkout: str) -> Mapping[str, Any]:
    options = ["--checkout", checkout, "--json", "--state", str(state)]
    done = subprocess.run(
        [*_COMMAND, "replay", str(orders), *options], cwd=orders.parent, stdout=subprocess.PIPE, check=True
    )
    summary: Mapping[str, Any] = json.loads(done.stdout)
    expect(summary["verify"]["ok"], True, "verify")
    return summary


def _measured(state: Path) -> dict[str, Counter[str]]:
    """The counts of each service and server since its start."""
    time.sleep(_STATISTICS_SECONDS)  # sessions tell their counts once a second
    described, secrets = _read(state, "state.json"), _read(state, "secrets.json")
    found: dict[str, Counter[str]] = {}
    for process in described["processes"]:
        found.setdefault(process["service"], Counter())["client ms"] += _milliseconds(process["pid"])
    found["providers"] = Counter({"client ms": _milliseconds(described["provider_pid"])})
    for name, pid in described["servers"].items():
        found[name] = Counter({"server ms": _milliseconds(pid)})
        for service, used in _sessions(pid).items():
            found.setdefault(service, Counter())["server ms"] += used
            found[name]["server ms"] -= used
    for service, url in secrets["databases"].items():
        if url.startswith("postgresql"):
            found[service].update(asyncio.run(_counted(url)))
    return found


def _sessions(server: int) -> Mapping[str, int]:
    """The processor time of PostgreSQL's sessions that live, by service: the title of each names its database."""
    found: Counter[str] = Counter()
    for pid in family([server]) - {server}:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().split()
        except OSError:
            continue
        if len(words) > 2 and words[2].startswith("shop_"):
            found[words[2].removeprefix("shop_")] += _milliseconds(pid)
    return found


def _milliseconds(pid: int) -> int:
    return round(1000 * cpu_seconds([pid]))


async def _counted(url: str) -> Mapping[str, int]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(_COUNTS)
        return {name: int(value) for name, value in dict(row or {}).items()}
    finally:
        await connection.close()


def _lines(before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]], orders: int) -> Iterator[str]:
    yield f"{'an order':<14}" + "".join(f"{column:>11}" for column in _COLUMNS)
    total: Counter[str] = Counter()
    for name in sorted(after):
        used = Counter(after[name])
        used.subtract(before.get(name, Counter()))
        total.update(used)
        yield f"{name:<14}" + "".join(f"{used[column] / orders:>11.2f}" for column in _COLUMNS)
    yield f"{'all':<14}" + "".join(f"{total[column] / orders:>11.2f}" for column in _COLUMNS)


def _read(state: Path, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((state / name).read_bytes())
    return found
