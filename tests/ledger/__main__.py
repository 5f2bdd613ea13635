"""Counts what each step costs, and writes it down: `python -m tests.ledger` shows what differs from the baseline.

--write  writes baseline.toml and docs/reference/ledger.md; what grew needs `--why "FEATURE: WHAT IT COSTS AND GIVES"`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.ledger.baseline import FILE, Baseline, Change, Growth, changes, read, render
from tests.ledger.count import counted
from tests.ledger.counters import on_mariadb, on_postgres, on_sqlite
from tests.ledger.page import PAGE, page
from tests.mariadb import MariaDbDatabases

from freehold_shop.servers import start_mariadb, start_postgres


def main() -> None:
    """Count, show, and write where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.ledger", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the baseline and the page")
    parser.add_argument("--why", default="", help="the feature that makes counters grow, and what it costs")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # handlers of the flows fail as planned
    before = read() if FILE.exists() else Baseline({})
    costs = _count()
    differ = changes(before.costs, costs)
    for each in differ:
        sys.stdout.write(f"{each}\n")
    if not options.write:
        sys.exit(1 if differ else 0)
    growths = [*before.growths, *_growths(differ, options.why)]
    after = Baseline(costs, growths)
    FILE.write_text(render(after), encoding="utf-8")
    PAGE.write_text(page(after), encoding="utf-8")


def _growths(differ: Sequence[Change], why: str) -> list[Growth]:
    grown = [each for each in differ if each.grows]
    if grown and not why.strip():
        sys.exit(f'nothing was written: {len(grown)} counters grow; say for what: --why "FEATURE: WHAT IT COSTS"')
    return [Growth(each, why.strip()) for each in grown]


def _count() -> dict[str, dict[str, Mapping[str, int]]]:
    """Count on all engines, one after the other."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as made:
        directory = Path(made)
        directory.chmod(0o755)  # the server is another user where we are root
        engines = {}
        for name in ("sqlite", "postgresql", "mariadb"):
            (directory / name).mkdir(mode=0o755)
        engines["sqlite"] = asyncio.run(counted(on_sqlite(directory / "sqlite"), directory / "sqlite"))
        server = start_postgres(directory / "server")
        try:
            engines["postgresql"] = asyncio.run(counted(on_postgres(server.url), directory / "postgresql"))
        finally:
            server.stop()
        server = start_mariadb(directory / "mariadb-server")
        try:
            with MariaDbDatabases(server.url) as databases:
                url = databases.take(empty=False)
            engines["mariadb"] = asyncio.run(counted(on_mariadb(url), directory / "mariadb"))
        finally:
            server.stop()
    flows = engines["sqlite"]
    return {flow: {engine: engines[engine][flow] for engine in engines} for flow in flows}


if __name__ == "__main__":
    main()
