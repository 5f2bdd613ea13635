"""Whether a SQLite file can be written just now. Imports the SQL base and the ports.

The row goes through a connection of the pool, which hears what a transaction would. What is found full, read-only or
locked is named by its reason also where SQLite's own code tells of a consequence only.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from freehold.adapters.files.holder import told_writer
from freehold.adapters.sql.engine.pool import PooledConnection
from freehold.disk import check_place
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable

__all__ = ["locked_by_another", "named", "write_row"]

_ROOM: Final = "INSERT INTO freehold_lease (name, owner) VALUES ('probe/room', hex(zeroblob(32768)))"
_ROW: Final = (
    "INSERT INTO freehold_lease (name) VALUES ('probe')"
    " ON CONFLICT (name) DO UPDATE SET heartbeat = freehold_lease.heartbeat + 1"
)


async def write_row(sql: PooledConnection, file: Path, seconds: float, usual_seconds: float) -> None:
    """Have pages given out, write the row, and commit, waiting this long for others. Raises what keeps it, named."""
    try:
        check_place(file)
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
    """What is said of a file whose lock somebody else holds, for longer than so many seconds."""
    return Unavailable(
        f"the database's file is locked by another process{told_writer(file)}"
        + (f" for longer than {seconds:.1f} s" if seconds else ""),
        hint="end what holds it, or what is frozen while it writes: fuser names the processes that have it open",
    )


def named(error: FreeholdError, file: Path, seconds: float | None = None) -> FreeholdError:
    """The error by its reason: `SQLITE_CANTOPEN` of a file that is read-only, or on a disk that is full."""
    code = getattr(error.__cause__, "sqlite_errorname", "") if isinstance(error.__cause__, sqlite3.Error) else ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return locked_by_another(file, seconds)
    try:
        check_place(file)
    except Unavailable as found:
        return found
    return error
