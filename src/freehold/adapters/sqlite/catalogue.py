"""The catalogue of a SQLite file, and the one that migrations make, found by running them in memory. Imports the SQL
base.

The run uses only the memory of this process: a step that attaches a file or takes too long ends it. Objects that this
step or a later one mentions are not known then, and not compared.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from freehold.adapters.sql.inspection.catalogue import Catalogue, Column, Kind, Part, Rule, Table
from freehold.adapters.sql.inspection.columns import Item, item_of
from freehold.adapters.sql.inspection.expressions import canonical
from freehold.adapters.sql.inspection.tokens import NotUnderstood, Tokens, scan, split

__all__ = ["expected", "found"]

Steps = tuple[tuple[str, tuple[str, ...]], ...]
Fetch = Callable[[str], Awaitable[Sequence[Sequence[Any]]]]

_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_COLUMNS: Final = """
SELECT m.name, p.name, p.type, p."notnull", p.pk, p.dflt_value FROM sqlite_schema AS m
JOIN pragma_table_xinfo(m.name) AS p WHERE m.type = 'table' ORDER BY m.name, p.cid"""
_UNIQUES: Final = """
SELECT m.name, l.name, l.origin, i.name FROM sqlite_schema AS m JOIN pragma_index_list(m.name) AS l
JOIN pragma_index_info(l.name) AS i WHERE m.type = 'table' AND l."unique" AND NOT l.partial ORDER BY l.name, i.seqno"""
_KINDS: Final = {"index": Kind.INDEX, "view": Kind.VIEW, "trigger": Kind.TRIGGER}
_WORD: Final = re.compile(r"\w+")
_REHEARSAL_SECONDS: Final = 2.0
_STEPS_BETWEEN_LOOKS: Final = 100_000


@lru_cache(maxsize=64)
def expected(steps: Steps) -> Catalogue:
    """The catalogue that these steps (label and statements) make in an empty file."""
    catalogue = Catalogue()
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.set_authorizer(_within_memory)
        deadline = time.monotonic() + _REHEARSAL_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        for number, (label, statements) in enumerate(steps):
            try:
                for statement in statements:
                    connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning):
                _forget(catalogue, steps[number:])
                break
            objects, columns, uniques = (connection.execute(sql).fetchall() for sql in (_OBJECTS, _COLUMNS, _UNIQUES))
            # A unique index with a CREATE statement of its own is compared as an index.
            now = _read(objects, columns, [row for row in uniques if row[2] == "u"])
            _sign(now, catalogue, label)
            catalogue = now
    finally:
        connection.close()
    return _with_rules(catalogue)


async def found(fetch: Fetch) -> Catalogue:
    """The catalogue of a file."""
    return _with_rules(_read(await fetch(_OBJECTS), await fetch(_COLUMNS), await fetch(_UNIQUES)))


def _within_memory(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _read(
    objects: Sequence[Sequence[Any]], columns: Sequence[Sequence[Any]], uniques: Sequence[Sequence[Any]]
) -> Catalogue:
    catalogue = Catalogue()
    for kind, name, table, sql in objects:
        if kind == "table":
            catalogue.tables[name] = Table(statements=[sql])
        else:
            of = "" if kind == "view" else table
            catalogue.parts[_KINDS[kind], name] = Part(_KINDS[kind], name, of, {_plain(sql)}, statements=[sql])
    _add_columns(catalogue, columns)
    found: dict[tuple[str, str, str], list[str]] = {}
    for table, index, origin, column in uniques:
        found.setdefault((table, index, origin), []).append(column)
    for (table, _, origin), names in found.items():
        if table in catalogue.tables and origin != "pk" and None not in names:
            catalogue.tables[table].uniques.add(tuple(names))
    return catalogue


def _add_columns(catalogue: Catalogue, columns: Sequence[Sequence[Any]]) -> None:
    keys: dict[str, list[tuple[int, str]]] = {}
    for table, name, declared, required, place, default in columns:
        if table not in catalogue.tables:
            continue
        text = f"{name} {declared}{' NOT NULL' if required else ''}{'' if default is None else f' DEFAULT {default}'}"
        column = Column(str(declared).upper(), bool(required or place), default is not None, text=text)
        if default is not None:
            column.default_sql, column.default_text = default, canonical(scan(default))
        catalogue.tables[table].columns[name] = column
        if place:
            keys.setdefault(table, []).append((place, name))
    for table, places in keys.items():
        catalogue.tables[table].key = tuple(name for _, name in sorted(places))


def _with_rules(catalogue: Catalogue) -> Catalogue:
    for table in catalogue.tables.values():
        _add_rules(table)
    return catalogue


def _add_rules(table: Table) -> None:
    """Add the constraints that only the text of a table has; none for a text that the parser does not know."""
    (sql,) = table.statements
    tokens = Tokens(scan(sql))
    try:
        while not tokens.sees("("):
            tokens.next()
        items = [item_of(item, sql) for item in split(tokens.group())]
    except NotUnderstood:
        return
    table.options = " ".join(sorted({token.text for token in tokens.rest if token.text != ","}))
    for item in items:
        _add_rules_of(table, item)


def _add_rules_of(table: Table, item: Item) -> None:
    column = table.columns.get(item.name)
    if column is not None and item.column is not None:
        column.collation = (item.column.collation or "").lower().replace("binary", "")
        column.identity = item.column.identity
    for constraint in item.constraints:
        if constraint.rule in {Rule.CHECK, Rule.FOREIGN_KEY}:
            table.constraints.append(constraint)


def _sign(now: Catalogue, before: Catalogue, label: str) -> None:
    """Note the step that made each object which did not exist before."""
    for name, table in now.tables.items():
        table.step = before.tables[name].step if name in before.tables else label
    for place, part in now.parts.items():
        was = before.parts.get(place)
        part.step = was.step if was is not None and was.definitions == part.definitions else label


def _forget(catalogue: Catalogue, steps: Steps) -> None:
    words = {word for _, statements in steps for text in statements for word in _WORD.findall(text)}
    for name in words & set(catalogue.tables):
        del catalogue.tables[name]
    for place, part in list(catalogue.parts.items()):
        if part.name in words or part.table in words:
            del catalogue.parts[place]


def _plain(sql: str) -> str:
    """A definition without differences that have no effect: white space, `IF NOT EXISTS`."""
    text = re.sub(r"\bIF NOT EXISTS\b", "", sql, flags=re.IGNORECASE)
    return " ".join(re.sub(r"([(),=<>])", r" \1 ", text).split())
