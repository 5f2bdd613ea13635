"""What Freehold's own steps make of a MariaDB database, read from their text, and what is there. Imports the SQL base.

Tables and the names of their columns are compared. What a service's own migrations make is not read.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from freehold.adapters.sql.inspection.catalogue import Catalogue, Column, Table

__all__ = ["expected", "found", "relations"]

Steps = tuple[tuple[str, tuple[str, ...]], ...]
Fetch = Callable[..., Awaitable[Sequence[Sequence[Any]]]]

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (freehold_\w+) \(\n(.*)\n\)", re.DOTALL)
_COLUMN: Final = re.compile(r"^    (?:`(\w+)`|([a-z_]+)) [A-Z]", re.MULTILINE)
_FOUND: Final = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'freehold\\_%' ORDER BY TABLE_NAME, ORDINAL_POSITION"""
_RELATIONS: Final = "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"


@lru_cache(maxsize=64)
def expected(steps: Steps) -> Catalogue:
    """What steps, as labels with statements, make of an empty database."""
    catalogue = Catalogue()
    for label, statements in steps:
        for statement in statements:
            made = _TABLE.match(statement)
            if made is not None and label.startswith("freehold/"):
                columns = {quoted or plain: Column() for quoted, plain in _COLUMN.findall(made[2])}
                catalogue.tables[made[1]] = Table(columns, step=label, statements=[statement])
    return catalogue


async def found(fetch: Fetch) -> Catalogue:
    """What is in a database."""
    catalogue = Catalogue()
    for table, column in await fetch(_FOUND):
        catalogue.tables.setdefault(table, Table()).columns[column] = Column()
    return catalogue


async def relations(fetch: Fetch, names: Sequence[str]) -> dict[str, str]:
    """What bears each of these names; a database before a name means nothing."""
    kinds = {str(name): "view" if kind == "VIEW" else "table" for name, kind in await fetch(_RELATIONS)}
    plain = {name: name.rpartition(".")[2] for name in names}
    return {name: kinds[called] for name, called in plain.items() if called in kinds}
