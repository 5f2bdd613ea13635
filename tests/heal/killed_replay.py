"""`python -m tests.heal.killed_replay`: the retail files go through a shop whose servers and processes are killed.

Every database is on one engine, MariaDB if none is named. The exit code is 0 where every order has reached an end and
`shop verify` holds. `--write` writes the table, docs/reference/killed-replay.md. Imports the replay and the shop.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.shop.replay.sample import write_many

from freehold.errors import FreeholdError
from freehold_shop.replay.run import Replay
from freehold_shop.replay.session import Outcome, Wanted, replay
from freehold_shop.servers import find_mariadb, find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Engine, parse_engines

PAGE: Final = Path(__file__).parents[2] / "docs/reference/killed-replay.md"
RETAIL: Final = Path(__file__).parents[3] / "shared" / "data" / "retail"
_MADE_ORDERS: Final = 400
_INSTANCES: Final = {"orders": 2}
_QUIET_SECONDS: Final = 300.0
_SERVER: Final = "the database server"
_SESSIONS: Final = "the sessions of orders"
_ALL: Final = "all services at once"
_KILLS: Final = (_SERVER, "orders", _SESSIONS, "inventory", "overview", _SERVER, "payments", _ALL, "shipping")
_FAULTS: Final = {_SERVER: "orders-database-crash", _SESSIONS: "orders-sessions-ended"}
_HEAD: Final = """\
# A replay under kills

This page shows what came of the retail files while servers and processes were killed. It is written by `{command}`,
not by hand. The data set is not part of the repository: without it, and without files on the command line, made orders
are replayed.

`shop replay` places the orders as fast as the shop takes them, with two processes of orders. Each time {every} more
orders have ended, the next of these is killed (SIGKILL): {kills}. The sessions of orders are ended by the server. The
supervisor starts what was killed. At the end every order must have been confirmed or cancelled, every return refunded
and restocked, and `shop verify` must hold.

"""
_COLUMNS: Final = (
    "| databases on | files, orders | confirmed, cancelled | returns | killed (times) | took | `shop verify` |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


@dataclass(slots=True)
class Killer:
    """Kills the next one of `_KILLS` each time that many more orders have ended."""

    every: int
    killed: Counter[str] = field(default_factory=Counter)
    _shop: Shop | None = None
    _count: int = 0
    _killing: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, shop: Shop) -> None:
        """Take this shop."""
        self._shop = shop

    def look(self, run: Replay) -> None:
        """Called while the replay makes progress."""
        if run.tally.ended >= (self._count + 1) * self.every:
            task = asyncio.get_running_loop().create_task(self._kill(_KILLS[self._count % len(_KILLS)]))
            self._count += 1
            self._killing.add(task)
            task.add_done_callback(self._killing.discard)

    async def _kill(self, what: str) -> None:
        assert self._shop is not None
        if what in _FAULTS:
            try:
                await self._shop.break_(_FAULTS[what])
            except FreeholdError as error:  # it is just being started
                _print(f"not killed: {what}: {error}")
                return
        elif what == _ALL:
            self._shop.kill_all()
        else:
            self._shop.kill(what)
        self.killed[what] += 1


def main() -> None:
    """Parse the arguments and replay."""
    parser = argparse.ArgumentParser(prog="python -m tests.heal.killed_replay", description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="retail files; without one, those beside the repository"
    )
    parser.add_argument("--engine", action="append", choices=[each.value for each in Engine], help="mariadb without it")
    parser.add_argument("--every", type=int, default=60, metavar="N", help="a kill each time N more orders have ended")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    engines = [Engine(each) for each in given.engine or [Engine.MARIADB]]
    if missing := _missing(engines):
        _print(f"left out: {missing}")
        sys.exit(1 if os.environ.get("REQUIRE_SERVERS") == "1" else 0)
    directory = Path(tempfile.mkdtemp(prefix="freehold-killed-"))
    # The servers' account must be able to enter.
    directory.chmod(0o755)
    files = [each.absolute() for each in given.files] or _retail_files(directory)
    results = {engine: asyncio.run(_run(engine, files, directory / engine, given.every)) for engine in engines}
    if given.write:
        kills = ", ".join(dict.fromkeys(_KILLS))
        text = _HEAD.format(command="make heal-replay ARGS=--write", every=given.every, kills=kills)
        conditions = f"Python {platform.python_version()}, {os.cpu_count()} cores; the times are those of one run."
        PAGE.write_text(text + conditions + "\n\n" + _COLUMNS + "".join(itertools.starmap(_row, results.items())))
    ok = all(outcome.summary.ok and outcome.error is None for outcome, _ in results.values())
    if ok:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        _print(f"the state directories are in {directory}")
    sys.exit(0 if ok else 1)


def _missing(engines: Sequence[Engine]) -> str:
    """The error of a server that is not available; empty for none."""
    try:
        find_nats_server()
        if Engine.MARIADB in engines:
            find_mariadb()
        if Engine.POSTGRESQL in engines:
            find_postgres_binaries()
    except ServerUnavailable as error:
        return str(error)
    return ""


def _retail_files(directory: Path) -> list[Path]:
    if files := sorted(RETAIL.glob("*.csv")):
        return files
    _print(
        f"the retail data set is not beside the repository (../shared/data/retail): {_MADE_ORDERS} made orders instead"
    )
    return [write_many(directory / "orders.csv", _MADE_ORDERS)]


async def _run(engine: Engine, files: Sequence[Path], state: Path, every: int) -> tuple[Outcome, Killer]:
    killer = Killer(every)
    wanted = Wanted(
        files,
        state,
        profile="servers",
        engines=parse_engines([f"all={engine}"]),
        instances=_INSTANCES,
        quiet_seconds=_QUIET_SECONDS,
    )
    outcome = await replay(wanted, on_shop=killer.begin, on_progress=killer.look)
    _print(_row(engine, (outcome, killer)).strip())
    for each in outcome.summary.verify.checks:
        if not each.ok:
            _print(f"  {each.name}: {each.detail}")
    if outcome.error is not None:
        _print(f"  {outcome.error}")
    return outcome, killer


def _row(engine: Engine, result: tuple[Outcome, Killer]) -> str:
    outcome, killer = result
    found, killed = outcome.summary, ", ".join(f"{what} ({count})" for what, count in killer.killed.items())
    checks = found.verify.checks
    held = f"{sum(each.ok for each in checks)} of {len(checks)} checks hold"
    cancelled = sum(found.cancelled.values())
    return (
        f"| {engine} | {found.files}, {found.orders_placed} | {found.confirmed}, {cancelled} | {found.returned} |"
        f" {killed} | {found.duration_seconds:.0f} s, {found.orders_per_second:.1f} orders/s | {held} |\n"
    )


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
