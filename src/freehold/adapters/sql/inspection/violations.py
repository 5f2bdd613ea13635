"""Queries for the number of rows that violate a missing constraint. Imports its sibling `catalogue`."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.adapters.sql.inspection.catalogue import quoted

__all__ = ["of_check", "of_foreign_key", "of_key", "of_not_null"]


def of_not_null(table: str, column: str) -> str:
    """Rows where the column is NULL."""
    return f"SELECT count(*) FROM {quoted(table)} WHERE {quoted(column)} IS NULL"


def of_check(table: str, condition: str) -> str:
    """Rows for which the condition is false; NULL is not false."""
    return f"SELECT count(*) FROM {quoted(table)} WHERE NOT ({condition})"


def of_key(table: str, columns: Sequence[str], *, primary: bool = False, where: str = "") -> str:
    """Rows whose key occurs more than once; for a primary key, also those with NULL in a column."""
    names = ", ".join(quoted(each) for each in columns)
    whole = " AND ".join(f"{quoted(each)} IS NOT NULL" for each in columns)
    some = f" AND ({where})" if where else ""
    shared = (
        f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {quoted(table)} WHERE {whole}{some}"
        f" GROUP BY {names} HAVING count(*) > 1) AS shared"
    )
    if not primary:
        return shared
    return f"SELECT ({shared}) + (SELECT count(*) FROM {quoted(table)} WHERE NOT ({whole}))"


def of_foreign_key(table: str, columns: Sequence[str], other: str, referred: Sequence[str]) -> str:
    """Rows that refer to a row that does not exist; empty where the referred columns are not known."""
    if len(columns) != len(referred):
        return ""
    whole = " AND ".join(f"own.{quoted(each)} IS NOT NULL" for each in columns)
    pairs = zip(columns, referred, strict=True)
    same = " AND ".join(f"other.{quoted(theirs)} = own.{quoted(ours)}" for ours, theirs in pairs)
    return (
        f"SELECT count(*) FROM {quoted(table)} AS own WHERE {whole} AND NOT EXISTS"
        f" (SELECT 1 FROM {quoted(other)} AS other WHERE {same})"
    )
