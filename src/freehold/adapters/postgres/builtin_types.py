"""The driver's connection, which knows PostgreSQL's own array types. Adapter: imports the driver.

asyncpg asks the server for every type that it does not know, arrays among them, when a statement with it is prepared.
That takes four round trips and several milliseconds of planning, for some statements of each new connection. The array
types here have the same identifiers in all versions and databases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection  # generic for the checker only

__all__ = ["ARRAYS", "TypedConnection"]

ARRAYS: Final[Mapping[int, tuple[str, int]]] = {
    1000: ("bool", 16),
    1001: ("bytea", 17),
    1005: ("int2", 21),
    1007: ("int4", 23),
    1015: ("varchar", 1043),
    1016: ("int8", 20),
    1021: ("float4", 700),
    1022: ("float8", 701),
    1115: ("timestamp", 1114),
    1182: ("date", 1082),
    1185: ("timestamptz", 1184),
    1231: ("numeric", 1700),
    199: ("json", 114),
    2951: ("uuid", 2950),
    3807: ("jsonb", 3802),
}
"""The identifiers of array types, each with the name and the identifier of its elements."""
_UNSET: Final = ("basetype", "range_subtype", "attrtypoids", "attrnames", "basetype_name", "range_subtype_name")


@dataclass(frozen=True, slots=True)
class _NoStatement:
    """Stands for the statement that was not prepared; by its name the driver keeps its own unnamed one."""

    name: str = "freehold_known_types"


class TypedConnection(_Connection):
    """A connection that asks the server for types only that are not in `ARRAYS`."""

    __slots__ = ()

    async def _introspect_types(self, typeoids: Collection[int], *limits: float | None) -> tuple[Sequence[Any], Any]:
        if all(oid in ARRAYS for oid in typeoids):
            return [_described(oid) for oid in typeoids], _NoStatement()
        driver: Any = super()
        asked: tuple[Sequence[Any], Any] = await driver._introspect_types(  # noqa: SLF001 - it has no public name
            typeoids, *limits
        )
        return asked


def _described(oid: int) -> Mapping[str, Any]:
    """A row as the driver's query returns it."""
    name, element = ARRAYS[oid]
    return {
        **dict.fromkeys(_UNSET),
        "oid": oid,
        "ns": "pg_catalog",
        "name": f"_{name}",
        "kind": b"b",
        "elemtype": element,
        "elemdelim": b",",
        "elemtype_name": name,
        "depth": 0,
    }
