"""The statement that a filter of events comes to on SQLite. Imports the SQL base.

Each type, or each category, is read along its index, and the rows are put in order of position; what else is wanted is
looked at row by row. `+column` keeps the planner from any other index.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from freehold.adapters.sql.dialect import Dialect
from freehold.eventstore.store import EventFilter

__all__ = ["by_index", "by_time", "selection", "several"]

_TERMS_MAX: Final = 100
"""A compound SELECT has 500 terms at most, and beyond some of them one walk along the positions is cheaper."""
_NONE: Final[frozenset[str]] = frozenset()


def by_index(wanted: EventFilter) -> EventFilter:
    """What of a filter an index answers; equal to the filter where that is all of it."""
    if 0 < len(wanted.types) <= _TERMS_MAX:
        return EventFilter(types=wanted.types)
    if 0 < len(wanted.categories) <= _TERMS_MAX:
        return EventFilter(categories=wanted.categories)
    return EventFilter()


def several(wanted: EventFilter) -> bool:
    """Whether an index would be read once for each of several types or categories, and the rows sorted."""
    indexed = by_index(wanted)
    return len(indexed.types) + len(indexed.categories) > 1


def by_time(wanted: EventFilter) -> bool:
    """Whether a span of time is wanted."""
    return wanted.recorded_from is not None or wanted.recorded_to is not None


def selection(
    dialect: Dialect,
    columns: str,
    after: int,
    through: int,
    limit: int,
    wanted: EventFilter,
    *,
    walk: bool = False,
) -> tuple[str, list[object]]:
    """The statement and its parameters. A `walk` looks at row after row, whatever is wanted."""
    indexed = EventFilter() if walk else by_index(wanted)
    parameters: list[object] = [after, through, limit]
    rest = replace(
        wanted,
        types=_NONE if indexed.types else wanted.types,
        categories=_NONE if indexed.categories else wanted.categories,
    )
    conditions = f"position > $1 AND position <= $2{_row_by_row(dialect, rest, parameters)} ORDER BY position LIMIT $3"
    column, values = ("type", indexed.types) if indexed.types else ("category", indexed.categories)
    if not values:
        return f"SELECT {columns} FROM freehold_event NOT INDEXED WHERE {conditions}", parameters
    terms = []
    for value in sorted(values):
        parameters.append(value)
        terms.append(
            f"SELECT {columns} FROM freehold_event INDEXED BY freehold_event_{column}"
            f" WHERE {column} = ${len(parameters)} AND {conditions}"
        )
    if len(terms) == 1:
        return terms[0], parameters
    terms = [f"SELECT * FROM ({term})" for term in terms]
    return f"{' UNION ALL '.join(terms)} ORDER BY position LIMIT $3", parameters


def _row_by_row(dialect: Dialect, wanted: EventFilter, parameters: list[object]) -> str:
    conditions = ""
    for column, values in (("type", wanted.types), ("category", wanted.categories)):
        if values:
            parameters.append(dialect.list_value(values))
            conditions += f" AND +{column} {dialect.in_sql(len(parameters), 'text')}"
    if wanted.partitions > 1:
        parameters += (wanted.partitions, wanted.partition)
        conditions += f" AND bucket % ${len(parameters) - 1} = ${len(parameters)}"
    for comparison, time in ((">=", wanted.recorded_from), ("<", wanted.recorded_to)):
        if time is not None:
            parameters.append(dialect.time(time))
            conditions += f" AND +recorded_at {comparison} ${len(parameters)}"
    return conditions
