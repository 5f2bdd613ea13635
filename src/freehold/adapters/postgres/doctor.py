"""The checks of `freehold doctor` on a PostgreSQL server. Imports the SQL base and the database port.

A result that is `ok` and has a fix is advice; one that is not `ok` breaks a guarantee.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.clock import SystemClock
from freehold.database import CheckResult, check_clock

__all__ = ["run_checks"]

_SETTINGS: Final = (
    "SELECT current_setting('server_version'), current_setting('server_version_num')::integer,"
    " current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'),"
    " current_setting('max_prepared_transactions')::integer, current_setting('log_error_verbosity'),"
    " current_setting('max_connections')::integer, pg_is_in_recovery(),"
    " extract(epoch FROM clock_timestamp())::float8, current_user::text, current_database()::text"
)
_PUBLIC: Final = (
    "SELECT EXISTS (SELECT 1 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a"
    " WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')"
    " FROM pg_database AS d WHERE d.datname = current_database()"
)
_SUPERUSER: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_HELD: Final = (
    "SELECT count(*) FROM pg_prepared_xacts"
    " WHERE database = current_database() AND prepared < statement_timestamp() - interval '5 minutes'"
)


async def run_checks(sql: SqlConnection) -> list[CheckResult]:
    """Check the server's version and settings, the isolation of the database, and old prepared transactions."""
    asked_at = SystemClock().now()
    row = (await sql.fetch(_SETTINGS))[0]
    answered_at = SystemClock().now()
    version, number, synchronous, fsync, full_pages, prepared, verbosity, connections, standby, epoch, role, name = row
    public = bool((await sql.fetch(_PUBLIC))[0][0])
    superuser = bool((await sql.fetch(_SUPERUSER))[0][0])
    held = int((await sql.fetch(_HELD))[0][0])
    return [
        CheckResult("version", number >= 130_000, f"PostgreSQL {version}",
                    "" if number >= 130_000 else "upgrade to 13+"),
        CheckResult("primary", not standby, "a standby: nothing can be written" if standby else "accepts writes",
                "connect to the primary" if standby else ""),
        _on("synchronous_commit", synchronous, "a commit that was confirmed may be lost", ok=synchronous != "off"),
        _on("fsync", fsync, "a crash of the machine may damage the database", ok=fsync == "on"),
        _on("full_page_writes", full_pages, "a crash of the machine may damage the database", ok=full_pages == "on"),
        _isolation(name, public=public),
        CheckResult("role", ok=True, detail="a superuser" if superuser else "not a superuser",
                fix=f"give the service a role of its own instead of '{role}'" if superuser else ""),
        CheckResult("max_connections", ok=True, detail=str(connections)),
        CheckResult("max_prepared_transactions", ok=True, detail=str(prepared)),
        CheckResult("prepared transactions", held == 0, f"{held} older than 5 minutes",
                "find them in pg_prepared_xacts, and ROLLBACK PREPARED those without a coordinator" if held else ""),
        CheckResult("log_error_verbosity", ok=True, detail=verbosity,
                fix="" if verbosity == "terse" else "set it to terse: a unique violation logs the row's values"),
        check_clock("clock", datetime.fromtimestamp(epoch, UTC), asked_at, answered_at),
    ]  # fmt: skip


def _on(setting: str, value: str, danger: str, *, ok: bool) -> CheckResult:
    return CheckResult(setting, ok, value if ok else f"{value}: {danger}", "" if ok else f"set {setting} = on")


def _isolation(name: str, *, public: bool) -> CheckResult:
    """By default every role of a cluster may connect to every database in it."""
    if not public:
        return CheckResult("isolation", ok=True, detail="only granted roles can connect")
    quoted = name.replace('"', '""')
    return CheckResult(
        "isolation",
        ok=False,
        detail="every role of the cluster can connect to this database",
        fix=f'REVOKE CONNECT, TEMPORARY ON DATABASE "{quoted}" FROM PUBLIC',
    )
