"""A site of the shop on real servers of its own: PostgreSQL or MariaDB, with NATS. Imports the servers and the site."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from tests.faults.crashes.site import LEFT_OUT, Site, start_providers
from tests.mariadb import run_on

from freehold_shop.assembly import SERVICES
from freehold_shop.servers import RunningServer, start_mariadb, start_nats, start_postgres

__all__ = ["on_mariadb", "on_postgres"]

_LEASE_SECONDS: Final = 1.0
"""NATS does not prove the end of a process: its partitions are taken over after this time."""
_NAMES: Final[Sequence[str]] = [name for name in SERVICES if name not in LEFT_OUT]


def on_postgres(directory: Path) -> Site:
    """A site on PostgreSQL and NATS, without its tables. Raises `ServerUnavailable`."""
    return _site(directory, start_postgres, _made_on_postgres)


def on_mariadb(directory: Path) -> Site:
    """A site on MariaDB and NATS, without its tables. Raises `ServerUnavailable`."""
    return _site(directory, start_mariadb, _made_on_mariadb)


def _site(directory: Path, start: Callable[[Path], RunningServer], made: Callable[[str], Mapping[str, str]]) -> Site:
    # Before the servers: what is forked afterwards has nothing of theirs open.
    url, process = start_providers(directory / "ledger")
    engine = start(directory / "engine")
    nats = start_nats(directory / "nats")
    servers = (engine, nats)
    return Site(directory, made(engine.url), nats.url, "crashes", url, process, _LEASE_SECONDS, servers)


def _made_on_postgres(server: str) -> Mapping[str, str]:
    with psycopg.connect(server, autocommit=True) as connection:
        for name in _NAMES:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return {name: f"{server.rpartition('/')[0]}/{name}" for name in _NAMES}


def _made_on_mariadb(server: str) -> Mapping[str, str]:
    asyncio.run(run_on(server, *(f"CREATE DATABASE `{name}`" for name in _NAMES)))
    return {name: f"{server.rpartition('/')[0]}/{name}" for name in _NAMES}
