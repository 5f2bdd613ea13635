"""Whether a MariaDB database can be written just now. Imports the ports."""

from __future__ import annotations

from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection

__all__ = ["write_row"]

_ROW: Final = (
    "INSERT INTO freehold_lease (name) VALUES ('probe')"
    " ON DUPLICATE KEY UPDATE heartbeat = freehold_lease.heartbeat + 1"
)


async def write_row(sql: SqlConnection) -> None:
    """Write the row in the transaction that is open."""
    await sql.execute(_ROW)
