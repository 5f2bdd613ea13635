"""Leases in memory. Adapter: imports the lease port and the memory database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table
from freehold.leases.store import LeaseRecord, LeaseStore

__all__ = ["LEASES", "MemoryLeaseStore"]

LEASES: Final[Table[str, LeaseRecord]] = Table("lease")


class MemoryLeaseStore(LeaseStore):
    """Keeps leases by name."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def ensure(self, names: Iterable[str]) -> None:
        """Add the leases that do not exist."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(LEASES)
            for name in names:
                if rows.get(name) is None:
                    rows.put(name, LeaseRecord(name=name, owner="", token=0, heartbeat=0))

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """Leases by prefix, ordered by name."""
        rows = await self._database.read(LEASES)
        return [rows[name] for name in sorted(rows) if name.startswith(prefix)]

    async def acquire(self, expected: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Acquire a lease by compare-and-set; None where it is not as expected."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(LEASES)
            if rows.get(expected.name) != expected:
                return None
            taken = LeaseRecord(name=expected.name, owner=owner, token=expected.token + 1, heartbeat=expected.heartbeat)
            rows.put(expected.name, taken)
            return taken

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Increase the heartbeats of the leases that are still held; returns their names."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(LEASES)
            held = {name: row for name in tokens if (row := rows.get(name)) is not None}
            kept = {name for name, row in held.items() if row.owner == owner and row.token == tokens[name]}
            for name in kept:
                rows.put(name, replace(held[name], heartbeat=held[name].heartbeat + 1))
            return kept

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of the leases that are still held."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(LEASES)
            for name, token in tokens.items():
                row = rows.get(name)
                if row is not None and row.owner == owner and row.token == token:
                    rows.put(name, replace(row, owner=""))

    async def delete(self, names: Iterable[str]) -> None:
        """Delete leases."""
        async with self._database.begin() as db_tx:
            for name in names:
                db_tx.rows(LEASES).remove(name)
