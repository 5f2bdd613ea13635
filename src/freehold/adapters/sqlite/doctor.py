"""The checks of `freehold doctor` on a SQLite file. Imports the SQL base and the database port.

A result that is `ok` and has a fix is advice; one that is not `ok` breaks a guarantee.
"""

from __future__ import annotations

from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.database import CheckResult

__all__ = ["run_checks"]

_WAL_RESET_FIXED: Final = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
_SYNCHRONOUS: Final = {0: "off", 1: "normal", 2: "full", 3: "extra"}


async def run_checks(sql: SqlConnection) -> list[CheckResult]:
    """Check SQLite's version, its settings, and the integrity of the file."""
    version = str((await sql.fetch("SELECT sqlite_version()"))[0][0])
    journal = str((await sql.fetch("PRAGMA journal_mode"))[0][0])
    synchronous = _SYNCHRONOUS.get(int((await sql.fetch("PRAGMA synchronous"))[0][0]), "unknown")
    intact = str((await sql.fetch("PRAGMA quick_check(1)"))[0][0])
    return [
        _version(version),
        CheckResult("journal_mode", journal == "wal", journal, "" if journal == "wal" else "PRAGMA journal_mode = WAL"),
        _synchronous(synchronous),
        CheckResult("quick_check", intact == "ok", "intact" if intact == "ok" else "the file is damaged",
                "" if intact == "ok" else "restore it from a backup"),
    ]  # fmt: skip


def _version(text: str) -> CheckResult:
    """Check for the WAL-reset bug. Advice, not a failure: the bug needs a write and a checkpoint at the same moment."""
    version = tuple(int(part) for part in text.split("."))
    fixed = version >= _WAL_RESET_FIXED[0] or any(
        version[:2] == patched[:2] and version >= patched for patched in _WAL_RESET_FIXED
    )
    if fixed:
        return CheckResult("version", ok=True, detail=f"SQLite {text}")
    return CheckResult(
        "version",
        ok=True,
        detail=f"SQLite {text} has the WAL-reset bug: a rare race of two checkpoints can damage the file",
        fix="use a Python that is linked against SQLite 3.51.3 or later",
    )


def _synchronous(value: str) -> CheckResult:
    if value in {"full", "extra"}:
        return CheckResult("synchronous", ok=True, detail=value)
    if value == "normal":
        return CheckResult(
            "synchronous",
            ok=True,
            detail="normal: the last commits may be lost when the machine loses power",
            fix="leave synchronous out of the database URL",
        )
    return CheckResult("synchronous", ok=False, detail=value, fix="leave synchronous out of the database URL")
