"""Checks that a PostgreSQL database can be written now, and which tables are locked. Imports the ports.

An update within a page needs no space on the disk, so a written row does not show a full disk. Therefore the check also
makes PostgreSQL write a temporary file into the database's tablespace: it does so for a result larger than `work_mem`,
and every role has the right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.database import CheckResult
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable

__all__ = [
    "LeaseLocked",
    "Locks",
    "blockers",
    "examine_locks",
    "lock_error",
    "locked",
    "take_room",
    "write_row",
]

_LOCK_TIMED_OUT: Final = "55P03"
_OVER_A_LIMIT: Final = "53400"
_LIMIT: Final = "SELECT set_config('lock_timeout', $1, true)"
_ROW: Final = (
    "INSERT INTO freehold_lease (name) VALUES ('probe')"
    " ON CONFLICT (name) DO UPDATE SET heartbeat = freehold_lease.heartbeat + 1"
)
_SMALL: Final = "SELECT set_config('work_mem', '64kB', true)"
_SPILL: Final = "SELECT count(*) FROM generate_series(1, 20000)"
_BLOCKING: Final = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""Modes of table locks that block every write of a row."""
_LOCKED: Final = f"""
SELECT c.relname::text, l.pid FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND l.mode IN {_BLOCKING}
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.pid IS DISTINCT FROM pg_backend_pid() AND c.relkind IN ('r', 'p')
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('freehold_lease'))
ORDER BY 1, 2"""
_SESSIONS: Final = """
SELECT pid, coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE pid = ANY (string_to_array($1, ',')::integer[]) ORDER BY pid"""
_SHOWN_MAX: Final = 5


class LeaseLocked(FreeholdError):
    """The row of the probe could not be written in time: it, or its table, is locked."""


Locks = frozenset[tuple[str, int | None]]


async def write_row(sql: SqlConnection, seconds: float) -> None:
    """Write the row in the open transaction. Raises `LeaseLocked` where its table, or the row, is locked."""
    await sql.fetch(_LIMIT, (f"{max(1, round(seconds * 1000))}ms",))
    try:
        await sql.execute(_ROW)
    except ConcurrencyConflict as error:
        if _state(error) != _LOCK_TIMED_OUT:
            raise
        raise LeaseLocked("the row of the probe is locked") from error


async def take_room(sql: SqlConnection) -> None:
    """Make the server write a temporary file in the open transaction. Raises `Unavailable` where the disk is full."""
    await sql.fetch(_SMALL)
    try:
        await sql.fetch(_SPILL)
    except Unavailable as error:
        if _state(error) != _OVER_A_LIMIT:  # temp_file_limit forbids the file, so nothing is known about the disk
            raise


async def locked(sql: SqlConnection) -> Locks:
    """The tables of the schema that are locked against writes now, each with the process that has locked it."""
    return frozenset((row[0], row[1]) for row in await sql.fetch(_LOCKED))


async def blockers(sql: SqlConnection, locks: Locks) -> Sequence[str]:
    """The sessions that hold locks, as texts: process number, application, and age of the transaction where the role
    may see it. Their statements are not shown, because these may contain values.
    """
    pids = sorted({pid for _, pid in locks if pid is not None})[:_SHOWN_MAX]
    rows = await sql.fetch(_SESSIONS, (",".join(map(str, pids)),)) if pids else ()
    return [_session(*row) for row in rows]


def _session(pid: int, application: str, seconds: float | None) -> str:
    named = f" of {application}" if application else ""
    age = "" if seconds is None else f", in a transaction for {max(0.0, seconds):.0f} s"
    return f"session {pid}{named}{age}"


def lock_error(locks: Locks, seconds: float, sessions: Sequence[str] = ()) -> Unavailable:
    """The error for tables that stay locked; without any, for the row of the probe."""
    names = sorted({name for name, _ in locks}) or ["freehold_lease"]
    return Unavailable(
        f"{_tables(names)} locked by another session for longer than {seconds:.1f} s{_who(sessions)}",
        hint=_hint([pid for _, pid in locks]),
    )


def examine_locks(locks: Locks, sessions: Sequence[str] = ()) -> CheckResult:
    """The check of `doctor` for tables that stay locked."""
    if not locks:
        return CheckResult("locks", ok=True, detail="no table is locked against writing")
    names = sorted({name for name, _ in locks})
    return CheckResult(
        "locks",
        ok=False,
        detail=f"{_tables(names)} locked by another session{_who(sessions)}",
        fix=_hint([pid for _, pid in locks]),
    )


def _who(sessions: Sequence[str]) -> str:
    return f" ({'; '.join(sessions)})" if sessions else ""


def _tables(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return f"{'the table' if len(names) == 1 else 'the tables'} {', '.join(names[:_SHOWN_MAX])}{more}" + (
        " is" if len(names) == 1 else " are"
    )


def _hint(processes: Collection[int | None]) -> str:
    known = sorted({each for each in processes if each is not None})
    if not known:
        return "find the session in pg_locks and pg_stat_activity, and end it"
    return f"check the session in pg_stat_activity, and end it: SELECT pg_terminate_backend({known[0]})"


def _state(error: FreeholdError) -> str:
    return str(getattr(error.__cause__, "sqlstate", ""))
