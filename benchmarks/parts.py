"""Single parts, each figure beside the same work by hand in the same run: `python -m benchmarks parts`.

    make bench ARGS="parts --only projection"               one of: events, aggregate, projection, outbox, broker
    make bench ARGS="parts --engine postgresql --seconds 3" one engine; how long each rate is measured
    python -m benchmarks parts --postgresql URL             an empty database of yours instead of a server of its own

The run starts PostgreSQL and NATS; where one is not available, the run says so and leaves its lines out. With the
defaults everything takes about three minutes on two processors, and no part takes longer than one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import aggregate, broker, eventstore, figures, outbox_stage, projection

from freehold_shop.servers import ServerUnavailable, start_nats, start_postgres

__all__ = ["main"]

_LIMIT_SECONDS: Final = 60.0
_ENGINES: Final = ("sqlite", "postgresql")
_Measure = Callable[[str, float], AsyncIterator[figures.Figure]]
_ON_DATABASES: Final[Mapping[str, _Measure]] = {
    "events": eventstore.figures,
    "aggregate": lambda url, _: aggregate.figures(url),
    "projection": projection.figures,
    "outbox": outbox_stage.figures,
}


def main(arguments: list[str]) -> int:
    """Print the conditions, then a line for each figure; returns the exit code."""
    options = _options(arguments)
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.platform()}")
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, {options.seconds:g} s for each rate"
    )
    print("ratio: the speed of Freehold relative to the same work by hand, in the same run; 1.00 is as fast\n")
    figures.head()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        for engine in options.engine or _ENGINES:
            wanted = {what: each for what, each in _ON_DATABASES.items() if what in options.only}
            urls = _databases(engine, directory, options.postgresql, stack) if wanted else iter(())
            for (what, measure), url in zip(wanted.items(), urls, strict=False):
                _bounded(f"{what}, {engine}", measure, url, options.seconds)
        if "broker" in options.only:
            for technology, url in _brokers(directory, stack):
                _bounded(f"broker, {technology}", broker.figures, url, options.seconds)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks parts", description=(__doc__ or "").partition("\n")[0])
    known = [*_ON_DATABASES, "broker"]
    parser.add_argument("--only", action="append", choices=known, help="measure only this; may be repeated")
    parser.add_argument("--engine", action="append", choices=_ENGINES, help="measure only on this database")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each rate is measured (1)")
    parser.add_argument("--postgresql", metavar="URL", help="an empty database, instead of a server of its own")
    options = parser.parse_args(arguments)
    options.only = options.only or known
    return options


def _databases(engine: str, directory: Path, given: str | None, stack: ExitStack) -> Iterator[str]:
    """A database for each benchmark, where the engine is available; PostgreSQL has one database for all of them."""
    if engine == "sqlite":
        yield from (f"sqlite:///{directory}/{what}.db" for what in _ON_DATABASES)
        return
    if given is None:
        try:
            given = stack.enter_context(start_postgres(directory / "postgres")).url
        except ServerUnavailable as error:
            print(f"PostgreSQL is left out: {error}")
            return
    while True:
        yield given


def _brokers(directory: Path, stack: ExitStack) -> Iterator[tuple[str, str]]:
    yield "memory", "memory://"
    yield "embedded", f"embedded:///{directory}/broker.db"
    try:
        yield "NATS", stack.enter_context(start_nats(directory / "nats")).url
    except ServerUnavailable as error:
        print(f"NATS is left out: {error}")


def _bounded(title: str, measure: _Measure, url: str, seconds: float) -> None:
    print(title, flush=True)

    gc.collect()
    gc.freeze()  # as `freehold.run` does

    async def run() -> None:
        async with asyncio.timeout(_LIMIT_SECONDS):
            async for figure in measure(url, seconds):
                figures.show(figure)

    try:
        asyncio.run(run())
    except TimeoutError:
        print(f"  stopped after {_LIMIT_SECONDS:g} s", flush=True)
