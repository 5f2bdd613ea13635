"""Reads the catalogue of a PostgreSQL database. Imports the SQL base and its siblings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from freehold.adapters.postgres.declared import canonical_index
from freehold.adapters.postgres.routines import routine_definition, trigger_of
from freehold.adapters.sql.inspection.catalogue import Catalogue, Column, Kind, Part, Rule, Table, quoted
from freehold.adapters.sql.inspection.columns import constraint_of
from freehold.adapters.sql.inspection.expressions import canonical
from freehold.adapters.sql.inspection.tokens import NotUnderstood, Tokens, scan
from freehold.errors import DatabaseError

__all__ = ["compare_views", "found", "relations", "signatures"]

Fetch = Callable[[str, Sequence[object]], Awaitable[Sequence[Sequence[Any]]]]

_PLACE: Final = """
(n.nspname = ANY ($2::text[]) OR ($1::text = '' AND pg_table_is_visible(c.oid))) AND c.relname = ANY ($3::text[])"""
_NAME: Final = """
CASE WHEN n.nspname = $1::text OR ($1::text = '' AND pg_table_is_visible(c.oid)) THEN c.relname::text
    ELSE n.nspname || '.' || c.relname END"""
_RELATIONS: Final = f"""
SELECT {_NAME}, c.relkind::text, c.relpersistence <> 'u' FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {_PLACE}"""
_COLUMNS: Final = f"""
SELECT {_NAME}, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef, a.attidentity <> '',
    pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attcollation <> t.typcollation THEN o.collname::text ELSE '' END
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {_PLACE}"""
_INDEXES: Final = f"""
SELECT {_NAME}, x.relname::text, pg_get_indexdef(i.indexrelid), i.indisprimary, i.indisunique,
    i.indpred IS NULL AND i.indexprs IS NULL, ARRAY(
        SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE k.place <= i.indnkeyatts ORDER BY k.place), i.indisvalid
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_index AS i ON i.indrelid = c.oid
JOIN pg_class AS x ON x.oid = i.indexrelid WHERE {_PLACE}"""
_CONSTRAINTS: Final = f"""
SELECT {_NAME}, k.conname::text, pg_get_constraintdef(k.oid), k.convalidated, ARRAY(
        SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_constraint AS k ON k.conrelid = c.oid
WHERE k.contype IN ('c', 'f') AND {_PLACE}"""
_TRIGGERS: Final = f"""
SELECT {_NAME}, t.tgname::text, pg_get_triggerdef(t.oid), t.tgenabled IN ('O', 'A') FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_trigger AS t ON t.tgrelid = c.oid
WHERE NOT t.tgisinternal AND {_PLACE}"""
_FUNCTIONS: Final = """
SELECT CASE WHEN n.nspname = $1::text OR ($1::text = '' AND pg_function_is_visible(p.oid)) THEN p.proname::text
    ELSE n.nspname || '.' || p.proname END, p.prosrc, p.prosecdef, p.proisstrict, p.provolatile::text
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE (n.nspname = ANY ($2::text[]) OR ($1::text = '' AND pg_function_is_visible(p.oid)))
    AND p.proname = ANY ($3::text[])"""
_SIGNATURES: Final = """
SELECT p.proname::text, p.oid::regprocedure::text FROM pg_proc AS p
WHERE p.pronamespace = (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = to_regclass('freehold_migration'))
    AND p.proname = ANY ($1::text[])"""
_EXPLAIN: Final = "EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM"
_KINDS: Final = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table",
                 "S": "sequence"}  # fmt: skip
_PARTS: Final = {"S": (Kind.SEQUENCE,), "v": (Kind.VIEW,), "m": (Kind.MATERIALIZED_VIEW, Kind.VIEW)}
"""A materialized view counts as the view that it replaces, too."""
_UNFINISHED: Final = "is invalid: its build did not finish"


async def found(fetch: Fetch, schema: str, expected: Catalogue) -> Catalogue:
    """The part of `expected` that is in the database.

    Names are looked up in `schema`, or in the search path where it is empty; a name with a schema in that schema.
    """
    tables = set(expected.tables) | {part.table for part in expected.parts.values() if part.table}
    places = (schema, *_looked_for(schema, tables | {part.name for part in expected.parts.values()}))
    catalogue = Catalogue()
    for name, kind, lasting in await fetch(_RELATIONS, places):
        if kind in {"r", "p", "f"}:
            catalogue.tables[name] = Table(lasting=lasting)
        else:
            for word in _PARTS[kind]:
                catalogue.parts[word, name] = Part(word, name)
    for table, name, *properties in await fetch(_COLUMNS, places):
        catalogue.tables[table].columns[name] = _column(properties)
    for row in await fetch(_INDEXES, places):
        _add_index(catalogue, row)
    for row in await fetch(_CONSTRAINTS, places):
        _add_constraint(catalogue, row)
    if any(kind is Kind.TRIGGER for kind, _ in expected.parts):
        for row in await fetch(_TRIGGERS, places):
            _add_trigger(catalogue, row)
    for name, body, definer, strict, volatility in await fetch(_FUNCTIONS, places):
        part = catalogue.parts.setdefault((Kind.FUNCTION, name), Part(Kind.FUNCTION, name))
        definition = routine_definition(body, definer=definer, strict=strict, volatility=volatility)
        part.definitions.add(definition)
    return catalogue


async def compare_views(fetch: Fetch, expected: Catalogue, found: Catalogue) -> None:
    """Add to `found` whether each view differs from its migration.

    The server stores a view parsed, and prints it in its own form. So the plan of the migration's query is compared
    with the plan of the view; a second time where they differ, because statistics may have changed in between. A view
    that the server cannot plan (a column or a right is missing) is not compared.
    """
    for place, part in expected.parts.items():
        there = found.parts.get(place)
        if part.kind is not Kind.VIEW or there is None:
            continue
        for written in part.definitions:
            alias = quoted(part.name.rpartition(".")[2])
            sources = (f"({written}\n) AS {alias}", quoted(part.name))
            try:
                differs = all([len({str(await fetch(f"{_EXPLAIN} {each}", ())) for each in sources}) > 1
                               for _ in range(2)])  # fmt: skip
            except DatabaseError:
                continue
            there.definitions = {f"unlike {written}"} if differs else {written}


async def relations(fetch: Fetch, schema: str, names: Sequence[str]) -> dict[str, str]:
    """The kind of the relation with each name."""
    rows = await fetch(_RELATIONS, (schema, *_looked_for(schema, set(names))))
    return {name: _KINDS[kind] for name, kind, _ in rows if name in names}


async def signatures(fetch: Fetch, functions: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The signatures of functions in the schema of the tables, by the functions' plain names."""
    found: dict[str, list[str]] = {name: [] for name in functions}
    for name, signature in await fetch(_SIGNATURES, (list(functions),)):
        found[name].append(signature)
    return found


def _looked_for(schema: str, names: set[str]) -> tuple[list[str], list[str]]:
    """The schemas of the names, and the names without schemas."""
    parts = [name.rpartition(".") for name in names]
    return sorted({place for place, _, _ in parts if place} | ({schema} - {""})), sorted({name for _, _, name in parts})


def _column(row: Sequence[Any]) -> Column:
    of_type, required, default, identity, text, collation = row
    column = Column(of_type, required, default, identity, collation=collation)
    if text is not None:
        column.default_sql = text
        column.default_text = canonical(scan(text))
    return column


def _add_index(catalogue: Catalogue, row: Sequence[Any]) -> None:
    table, name, sql, primary, unique, whole, columns, valid = row
    there = catalogue.tables.get(table)
    if there is not None and whole and valid and primary:
        there.key = tuple(columns)
    elif there is not None and whole and valid and unique:
        there.uniques.add(tuple(columns))
    place = f"{table.rpartition('.')[0]}.{name}".lstrip(".")
    definition = f"{'unique ' * unique}{canonical_index(sql)}"
    fault = "" if valid else _UNFINISHED
    catalogue.parts[Kind.INDEX, place] = Part(Kind.INDEX, place, table, {definition}, fault=fault)


def _add_constraint(catalogue: Catalogue, row: Sequence[Any]) -> None:
    table, name, sql, validated, columns = row
    there = catalogue.tables.get(table)
    try:
        constraint = constraint_of(scan(sql), sql)
    except NotUnderstood:
        return
    constraint.name, constraint.validated = name, validated
    if constraint.rule is Rule.CHECK:
        constraint.columns = tuple(sorted(columns))
    if there is not None:
        there.constraints.append(constraint)


def _add_trigger(catalogue: Catalogue, row: Sequence[Any]) -> None:
    table, name, sql, enabled = row
    tokens = Tokens(scan(sql))
    while not tokens.take("trigger"):
        tokens.next()
    tokens.name()
    definition = trigger_of(tokens)[1]
    part = Part(Kind.TRIGGER, name, table, {definition})
    if not enabled:
        part.fault = "is disabled"
        part.mend = [f"ALTER TABLE {quoted(table)} ENABLE TRIGGER {quoted(name)}"]
    catalogue.parts[Kind.TRIGGER, f"{name} on {table}"] = part
