"""What cases run on: real servers, a new database for each run, and processes that find a chosen Freehold.

Imports the shop's servers and the drivers; what is measured runs in other processes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncmy
import asyncpg
from benchmarks.cases.conditions import Conditions
from sqlalchemy import make_url

from freehold_shop.servers import RunningServer, ServerUnavailable, start_mariadb, start_nats, start_postgres

__all__ = ["ROOT", "CaseFailed", "Ground", "Side", "ground"]

ROOT: Final = Path(__file__).parents[1]
_LIMIT_SECONDS: Final = 300.0
_DATABASES: Final = 2


class CaseFailed(Exception):
    """A case has ended without figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """Who is measured. `python` runs it, `source` is where it finds Freehold; None: nowhere, it has none."""

    name: str
    python: str = sys.executable
    source: Path | None = ROOT

    def environment(self) -> dict[str, str]:
        """The variables of its processes: of ours only the paths of programs, and where Python finds its modules."""
        paths = [] if self.source is None else [self.source / "src", self.source / "shop" / "src"]
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": os.pathsep.join(str(path) for path in (*paths, ROOT)),
        }


class Ground:
    """The servers of a run. Those that are not available are missing in `servers`, and `missing` says why."""

    def __init__(self, directory: Path) -> None:
        self.servers: dict[str, RunningServer] = {}
        self.missing: dict[str, str] = {}
        self.directory = directory
        self._numbers = itertools.count(1)

    def run(
        self, side: Side, module: str, conditions: Conditions, *, engine: str = "postgresql", broker: str = "memory"
    ) -> Mapping[str, float]:
        """Run a case in a process of its own, on databases of its own. Raises `CaseFailed`."""
        name = f"run{next(self._numbers)}"
        with self._databases(engine, name) as databases, tempfile.TemporaryDirectory(prefix="case-") as directory:
            wanted = replace(
                conditions,
                databases=databases,
                broker=self._broker(broker, Path(directory)),
                prefix=name,
                directory=directory,
                pids=tuple(self.servers[each].pid for each in {engine, broker} & self.servers.keys()),
            )
            return _figures(side, module, wanted, Path(directory))

    def _broker(self, kind: str, directory: Path) -> str:
        if kind == "embedded":
            return f"embedded:///{directory}/broker.db"
        return self.servers[kind].url if kind in self.servers else "memory://"

    @contextmanager
    def _databases(self, engine: str, name: str) -> Iterator[tuple[str, ...]]:
        """New databases, dropped afterwards: what one run leaves must not cost the next one."""
        names = [f"{name}_{number}" for number in range(_DATABASES)]
        server = self.servers.get(engine)
        if server is None:
            yield ()
            return
        asyncio.run(_on(server.url, [f"CREATE DATABASE {each}" for each in names]))
        try:
            yield tuple(f"{server.url.rpartition('/')[0]}/{each}" for each in names)
        finally:
            force = " WITH (FORCE)" if engine == "postgresql" else ""
            asyncio.run(_on(server.url, [f"DROP DATABASE {each}{force}" for each in names]))


def _figures(side: Side, module: str, conditions: Conditions, directory: Path) -> Mapping[str, float]:
    """Start the case's program, and read its last line."""
    errors = directory / "errors"
    with errors.open("wb") as log:
        try:
            done = subprocess.run(
                [side.python, "-m", module, conditions.to_json()],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory,
                env=side.environment(),
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"{side.name}: no end after {_LIMIT_SECONDS:g} s") from None
    lines = done.stdout.decode().strip().splitlines()
    if done.returncode or not lines:
        text = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise CaseFailed(f"{side.name}: {' / '.join(text[-3:]) or f'exit code {done.returncode}'}")
    found = json.loads(lines[-1])
    return {name: float(value) for name, value in found.items()}


async def _on(url: str, statements: list[str]) -> None:
    """Run statements on a server."""
    if url.startswith("postgresql"):
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
        return
    place = make_url(url)
    mariadb = await asyncmy.connect(
        host=place.host, port=place.port, user=place.username, password=place.password, db="mysql"
    )
    try:
        async with mariadb.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
    finally:
        mariadb.close()


@contextmanager
def ground(*kinds: str) -> Iterator[Ground]:
    """Start servers of these kinds: `postgresql`, `mariadb`, `nats`."""
    starts = {"postgresql": start_postgres, "mariadb": start_mariadb, "nats": start_nats}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        made = Ground(directory)
        for kind in kinds:
            try:
                made.servers[kind] = stack.enter_context(starts[kind](directory / kind))
            except ServerUnavailable as error:
                made.missing[kind] = str(error)
        yield made
