"""What a database holds of Freehold's, in words that two databases can be compared by."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import psycopg

__all__ = ["postgres_catalogue", "sqlite_catalogue"]

_COLUMNS = """
SELECT 'column ' || c.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attidentity, a.attstorage, o.collname, pg_get_expr(d.adbin, d.adrelid))
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND c.relname LIKE 'freehold%'"""
_REST = """
SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'freehold%'
UNION ALL SELECT 'table ' || relname, array_to_string(reloptions, ',') FROM pg_class
    WHERE relkind = 'r' AND relname LIKE 'freehold%'
UNION ALL SELECT 'constraint ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conname LIKE 'freehold%' AND contype <> 'n'
UNION ALL SELECT 'sequence ' || relname, '' FROM pg_class WHERE relkind = 'S' AND relname LIKE 'freehold%'
UNION ALL SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc
    WHERE proname LIKE 'freehold%'
UNION ALL SELECT 'step ' || owner || '/' || name, digest FROM freehold_migration
UNION ALL SELECT 'digest ' || name, digest FROM freehold_object
UNION ALL SELECT 'fact ' || name, value FROM freehold_meta"""


def postgres_catalogue(url: str) -> Mapping[str, str]:
    """Columns, indexes, options, constraints, sequences, functions with their rights, and what is recorded."""
    with psycopg.connect(url) as connection:
        return {str(name): str(text) for sql in (_COLUMNS, _REST) for name, text in connection.execute(sql)}


def sqlite_catalogue(path: Path) -> Mapping[str, str]:
    """Columns, indexes, options, and what is recorded."""
    connection = sqlite3.connect(path)
    try:
        columns = connection.execute(
            "SELECT 'column ' || m.name || '.' || p.name,"
            " p.type || p.\"notnull\" || p.pk || coalesce(p.dflt_value, '-')"
            " FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS p"
            " WHERE m.type = 'table' AND m.name LIKE 'freehold%'"
        )
        rest = connection.execute(
            "SELECT 'index ' || name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
            " UNION ALL SELECT 'table ' || name, CASE WHEN sql LIKE '%WITHOUT ROWID' THEN 'keys' ELSE 'rows' END"
            " || CASE WHEN sql LIKE '%AUTOINCREMENT%' THEN ' counted' ELSE '' END"
            " FROM sqlite_schema WHERE type = 'table'"
            " UNION ALL SELECT 'step ' || owner || '/' || name, digest FROM freehold_migration"
            " UNION ALL SELECT 'fact ' || name, value FROM freehold_meta"
        )
        return {str(name): " ".join(str(text).split()) for rows in (columns, rest) for name, text in rows}
    finally:
        connection.close()
