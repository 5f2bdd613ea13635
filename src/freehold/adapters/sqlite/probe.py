"""Checks that a SQLite file can be written now. Imports the SQL base and the ports.

It writes a row through a connection of the pool, which gets the same errors as a transaction. A full disk, a read-only
file or a lock is named as the reason, also where SQLite's result code shows only a consequence.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from freehold.adapters.files.holder import told_writer
from freehold.adapters.sql.engine.pool import PooledConnection
from freehold.disk import require_writable
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable

__all__ = ["locked_by_another", "named", "write_row"]

_ROOM: Final = "INSERT INTO freehold_lease (name, owner) VALUES ('probe/room', hex(zeroblob(32768)))"
_ROW: Final = (
    "INSERT INTO freehold_lease (name) VALUES ('probe')"
    " ON CONFLICT (name) DO UPDATE SET heartbeat = freehold_lease.heartbeat + 1"
)


async def write_row(sql: PooledConnection, file: Path, seconds: float, usual_seconds: float) -> None:
    """Allocate pages, write the row, and commit; waits at most `seconds` for a lock. Raises what `named` returns."""
    try:
        require_writable(file)
        await sql.execute(f"PRAGMA busy_timeout = {max(1, round(seconds * 1000))}")
        try:
            await sql.execute("BEGIN IMMEDIATE")
            await sql.execute("SAVEPOINT room")
            await sql.execute(_ROOM)
            await sql.execute("ROLLBACK TO room")
            await sql.execute(_ROW)
            await sql.execute("COMMIT")
        finally:
            if sql.is_in_transaction():
                await sql.rollback()
            await sql.execute(f"PRAGMA busy_timeout = {round(usual_seconds * 1000)}")
    except (Unavailable, ConcurrencyConflict) as error:
        raise named(error, file, seconds) from error.__cause__


def locked_by_another(file: Path, seconds: float | None = None) -> Unavailable:
    """The error for a file that another process has locked, for longer than `seconds`."""
    return Unavailable(
        f"the database's file is locked by another process{told_writer(file)}"
        + (f" for longer than {seconds:.1f} s" if seconds else ""),
        hint="end the process that holds it, which may be frozen: fuser lists the processes that have the file open",
    )


def named(error: FreeholdError, file: Path, seconds: float | None = None) -> FreeholdError:
    """The error with its reason: `SQLITE_CANTOPEN` may come from a read-only file or a full disk."""
    code = getattr(error.__cause__, "sqlite_errorname", "") if isinstance(error.__cause__, sqlite3.Error) else ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return locked_by_another(file, seconds)
    try:
        require_writable(file)
    except Unavailable as found:
        return found
    return error
