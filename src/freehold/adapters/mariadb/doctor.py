"""What `freehold doctor` looks at on a MariaDB server. Imports the SQL base and the database port.

A finding that is `ok` and has a fix is advice; one that is not `ok` breaks a guarantee.
"""

from __future__ import annotations

from datetime import UTC
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.clock import SystemClock
from freehold.database import CheckResult, check_clock

__all__ = ["run_checks"]

_SETTINGS: Final = (
    "SELECT VERSION(), @@global.innodb_flush_log_at_trx_commit, @@global.innodb_doublewrite, @@global.read_only,"
    " @@global.max_connections, @@global.max_allowed_packet, @@global.log_bin, @@global.binlog_format,"
    " UTC_TIMESTAMP(6), CURRENT_USER()"
)
_PACKET_BYTES_MIN: Final = 16 * 2**20


async def run_checks(sql: SqlConnection) -> list[CheckResult]:
    """Ask the server, and judge."""
    asked_at = SystemClock().now()
    row = (await sql.fetch(_SETTINGS))[0]
    answered_at = SystemClock().now()
    version, flush, doublewrite, read_only, connections, packet, binary_log, log_format, now, user = row
    statements = bool(binary_log) and str(log_format).upper() == "STATEMENT"
    return [
        CheckResult("version", ok=True, detail=f"MariaDB {version}"),
        CheckResult("primary", not read_only, "read-only: nothing can be written" if read_only else "accepts writes",
                    "connect to the primary" if read_only else ""),
        _on("innodb_flush_log_at_trx_commit", flush, 1, "a commit that was confirmed may be lost"),
        _on("innodb_doublewrite", doublewrite, 1, "a crash of the machine may damage the database"),
        CheckResult("binlog_format", not statements, str(log_format) if binary_log else "no binary log",
                    "set binlog_format = MIXED: READ COMMITTED needs it" if statements else ""),
        CheckResult("max_connections", ok=True, detail=str(connections)),
        CheckResult("max_allowed_packet", ok=True, detail=str(packet),
                    fix="" if packet >= _PACKET_BYTES_MIN else "raise it to 16M: a batch of messages is one statement"),
        CheckResult("user", ok=True, detail=str(user)),
        check_clock("clock", now.replace(tzinfo=UTC), asked_at, answered_at),
    ]  # fmt: skip


def _on(setting: str, value: int, wanted: int, danger: str) -> CheckResult:
    ok = int(value) == wanted
    return CheckResult(
        setting, ok, str(value) if ok else f"{value}: {danger}", "" if ok else f"set {setting} = {wanted}"
    )
