"""What `freehold doctor` looks at on a MariaDB server. Imports the SQL base and the database port.

A finding that is `ok` and has a fix is advice; one that is not `ok` breaks a guarantee.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_LOOSE_KEYS: Final = r"""
SELECT DISTINCT CONCAT(c.TABLE_NAME, '.', c.COLUMN_NAME, ' (', c.COLLATION_NAME, ')')
FROM information_schema.STATISTICS AS s JOIN information_schema.COLUMNS AS c
    ON c.TABLE_SCHEMA = s.TABLE_SCHEMA AND c.TABLE_NAME = s.TABLE_NAME AND c.COLUMN_NAME = s.COLUMN_NAME
WHERE s.TABLE_SCHEMA = DATABASE() AND s.NON_UNIQUE = 0 AND c.TABLE_NAME NOT LIKE 'freehold\_%'
    AND c.COLLATION_NAME IS NOT NULL AND c.COLLATION_NAME NOT LIKE '%nopad\_bin'
ORDER BY 1"""
_SHOWN_MAX: Final = 5
_PACKET_BYTES_MIN: Final = 16 * 2**20


async def run_checks(sql: SqlConnection) -> list[CheckResult]:
    """Ask the server, and judge."""
    asked_at = SystemClock().now()
    row = (await sql.fetch(_SETTINGS))[0]
    answered_at = SystemClock().now()
    loose = [str(row[0]) for row in await sql.fetch(_LOOSE_KEYS)]
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
        _keys(loose),
        check_clock("clock", now.replace(tzinfo=UTC), asked_at, answered_at),
    ]  # fmt: skip


def _keys(loose: Sequence[str]) -> CheckResult:
    """Unique texts of the service's own tables that are one for MariaDB, and two for Freehold and other engines: `a`,
    `A` and `a `. Rows of a replica, or one order for each key of a message, would be lost.
    """
    if not loose:
        return CheckResult("keys", ok=True, detail="are compared by code points")
    more = f", and {len(loose) - _SHOWN_MAX} more" if len(loose) > _SHOWN_MAX else ""
    return CheckResult(
        "keys",
        ok=True,
        detail=f"take different texts for one: {', '.join(loose[:_SHOWN_MAX])}{more}",
        fix="where it holds keys of messages, sagas or replicas, give the column COLLATE utf8mb4_nopad_bin",
    )


def _on(setting: str, value: int, wanted: int, danger: str) -> CheckResult:
    ok = int(value) == wanted
    return CheckResult(
        setting, ok, str(value) if ok else f"{value}: {danger}", "" if ok else f"set {setting} = {wanted}"
    )
