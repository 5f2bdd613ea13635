"""Filters by which Alembic's autogenerate ignores what Freehold makes. Runtime: imports the patterns, not Alembic.

Freehold applies its own migrations. Your metadata does not contain its tables, so autogenerate would drop them:
`freehold_…`, the generations and replays of read models (`order_summary__g3`, `order_summary__r1`) and, on SQLite, the
tables that replace materialized views. The tables that a projection declares may be in your metadata. In the database
they are views, so autogenerate would create them.

    from freehold.alembic import filters

    context.configure(connection=connection, target_metadata=Base.metadata, **filters(service))

`include_name` alone is enough where neither projections nor materialized views are declared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from freehold.projection.tables import is_projected
from freehold.service import Service

__all__ = ["filters", "include_name", "include_object"]

_OWN: Final = re.compile(r"freehold_[a-z0-9_]+|.+__[gr][1-9][0-9]*").fullmatch
_TABLE: Final = "table"

IncludeName = Callable[[Any, Any, Any], bool]
IncludeObject = Callable[[Any, Any, Any, Any, Any], bool]


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:  # noqa: ARG001 - Alembic's signature
    """Whether autogenerate looks at a name in the database: false for a table of Freehold, in any schema.

    For `context.configure(include_name=include_name)`. The name of your own table must not begin with `freehold_`, nor
    end with `__g` or `__r` and a number.
    """
    return type_ != _TABLE or name is None or _OWN(name) is None


def include_object(
    object: Any,
    name: str | None,
    type_: str,
    reflected: bool,  # noqa: ARG001, FBT001 - Alembic's signature
    compare_to: object,  # noqa: ARG001 - as above
) -> bool:
    """Whether autogenerate compares an object: false for a table of Freehold, and for one that a projection declares.

    For `context.configure(include_object=include_object)`. Import the modules that declare projections first.
    """
    return include_name(name, type_, {}) and not (type_ == _TABLE and is_projected(object))


def filters(
    *services: Service, include_name: IncludeName | None = None, include_object: IncludeObject | None = None
) -> dict[str, Any]:
    """Both filters as arguments of `context.configure`, combined with your own filters if you have some.

    The `services` declare the names of materialized views and projections: on SQLite the views are tables.
    """
    declared = {name for service in services for name in service.materialized_views}
    declared |= {table.name for service in services for each in service.projections.values() for table in each.tables}

    def by_name(name: Any, type_: Any, parent_names: Any) -> bool:
        if not _by_name(name, type_, parent_names) or (type_ == _TABLE and name in declared):
            return False
        return include_name is None or include_name(name, type_, parent_names)

    def by_object(object: Any, name: Any, type_: Any, reflected: Any, compare_to: Any) -> bool:
        if not _by_object(object, name, type_, reflected, compare_to):
            return False
        return include_object is None or include_object(object, name, type_, reflected, compare_to)

    return {"include_name": by_name, "include_object": by_object}


_by_name: Final = include_name
_by_object: Final = include_object
