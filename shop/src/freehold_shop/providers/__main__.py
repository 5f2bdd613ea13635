"""The providers' process: `python -m freehold_shop.providers --port N --ledger FILE`.

It is the outside world of the shop, so the shop's faults never kill it. When it listens it prints one JSON line,
`{"url": ...}`, on standard output. Imports aiohttp and the providers' modules.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from freehold import FreeholdError
from freehold_shop.providers.book import Book
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.server import create_app

__all__ = ["main", "serve"]

_SHUTDOWN_SECONDS = 2.0


async def serve(host: str, port: int, ledger_path: Path, *, fsync: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; then requests in progress have two seconds to finish."""
    ledger = Ledger(ledger_path, fsync=fsync)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        runner = web.AppRunner(
            create_app(Book(ledger, _now), ledger), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            address = runner.addresses[0]
            _announce({"url": f"http://{host}:{address[1]}", "ledger": str(ledger_path)})
            await stop.wait()
        finally:
            await runner.cleanup()
    finally:
        ledger.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve; returns the exit code, 2 where the ledger or the address cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m freehold_shop.providers", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes any free port")
    parser.add_argument("--ledger", type=Path, required=True, help="the append-only file, created where missing")
    parser.add_argument("--fsync", action="store_true", help="flush the disk for each effect; slower")
    options = parser.parse_args(arguments)
    try:
        uvloop.run(serve(options.host, options.port, options.ledger, fsync=options.fsync))
    except (FreeholdError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _announce(message: dict[str, str]) -> None:
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
