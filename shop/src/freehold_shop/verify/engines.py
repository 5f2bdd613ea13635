"""Findings in the databases: prepared and idle transactions, blocking locks. Imports readers and scratch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from freehold_shop.verify.readers import can_write, open_reader
from freehold_shop.verify.scratch import Scratch

__all__ = ["IDLE_SECONDS_MAX", "load_engine_findings"]

IDLE_SECONDS_MAX = 60
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
_IDLE = f"""SELECT pid, CAST(extract(epoch FROM clock_timestamp() - state_change) AS bigint) FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%'
    AND state_change < clock_timestamp() - interval '{IDLE_SECONDS_MAX} seconds'"""


def load_engine_findings(scratch: Scratch, databases: Mapping[str, str]) -> None:
    """Load the findings of every database; each is a fault."""
    scratch.load("INSERT INTO engine_finding VALUES (?, ?)", _findings(databases))


def _findings(databases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for service, url in databases.items():
        scheme = urlsplit(url).scheme
        if scheme.startswith("mariadb"):
            continue  # the server itself ends transactions that are idle, and nothing prepares one
        if not scheme.startswith("postgres"):
            problem = can_write(url)
            if problem is not None:
                yield service, problem
            continue
        with open_reader(url, service) as reader:
            for (gid,) in reader.rows(_PREPARED):
                yield service, f"transaction {gid} is prepared, but neither committed nor rolled back"
            for pid, seconds in reader.rows(_IDLE):
                yield service, f"process {pid} has been idle in a transaction for {seconds} s"
