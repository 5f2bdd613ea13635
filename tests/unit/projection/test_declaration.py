"""What is declared wrongly is refused where it is declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from freehold import MaterializedView, Service, command, event
from freehold.errors import DeclarationError
from freehold.messages import upcaster
from freehold.projection.declaration import DecodedEvent, Projection, ProjectionContext, SinkEvent


@event("declared.opened")
class Opened:
    name: str


@event("declared.closed", version=3)
class Closed:
    name: str


@command("declared.close")
class Close:
    name: str


@upcaster("declared.ended", from_version=1, into=[("declared.closed", 3)])
def _ended(body: dict[str, Any]) -> dict[str, Any]:
    return body


@dataclass
class _Sink:
    written: list[SinkEvent] = field(default_factory=list)

    async def prepare(self, generation: int) -> None: ...

    async def write(self, generation: int, changes: Sequence[SinkEvent]) -> None: ...

    async def show(self, generation: int) -> None: ...

    async def drop(self, generation: int) -> None: ...


async def _handler(event: Any, write: ProjectionContext) -> None: ...


async def _batch(batch: Sequence[DecodedEvent], write: ProjectionContext) -> None: ...


def _table(name: str = "thing") -> sa.Table:
    return sa.Table(name, sa.MetaData(), sa.Column("id", sa.Text, primary_key=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "No Name"},
        {"name": ""},
        {"version": 0},
        {"batch_limit": 0},
        {"partitions": 0},
        {"partitions": 257},
        {"categories": {"order-line"}},
        {"events": (Opened,)},
        {"sink": _Sink(), "inline": True},
        {"sink": _Sink(), "tables": (_table(),)},
        {"sink": _Sink(), "events": (Close,)},
        {"key_columns": {"thing": "id"}},
        {"tables": (_table(),), "key_columns": {"thing": "ident"}},
        {"tables": (_table(),), "categories": {"a"}, "key_columns": {"thing": {"a": "ident"}}},
        {"tables": (_table(),), "categories": {"a"}, "key_columns": {"thing": {"b": "id"}}},
        {"tables": (_table(),), "categories": {"a", "b"}, "key_columns": {"thing": "id"}},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Projection(**{"name": "things", **wrong})


def test_handlers_are_checked() -> None:
    projection = Projection("things")

    def plain(event: Opened, write: ProjectionContext) -> None: ...

    async def one(event: Opened) -> None: ...

    for event_type, function in ((Opened, plain), (Opened, one), (Close, _handler), (int, _handler)):
        with pytest.raises(DeclarationError):
            projection.on(event_type)(function)  # type: ignore[arg-type] # that is what is refused
    projection.on(Opened)(_handler)
    with pytest.raises(DeclarationError, match="twice"):
        projection.on(Opened)(_handler)
    with pytest.raises(DeclarationError, match="another handler"):
        projection.on_batch(Closed)(_batch)
    with pytest.raises(DeclarationError, match="name the events"):
        Projection("things").on_batch()(_batch)
    with pytest.raises(DeclarationError, match="sink"):
        Projection("things", sink=_Sink()).on(Opened)(_handler)


def test_one_batch_handler_takes_all() -> None:
    projection = Projection("things")
    projection.on_batch(Opened, Closed)(_batch)
    assert projection.handled == {Opened, Closed}
    with pytest.raises(DeclarationError, match="another handler"):
        projection.on(Opened)(_handler)


def test_the_types_that_are_read_include_what_upcasters_lead_from() -> None:
    projection = Projection("things")
    projection.on(Closed)(_handler)
    assert projection.types == {"declared.closed", "declared.ended"}
    assert Projection("other", sink=_Sink(), events=(Opened,)).types == {"declared.opened"}


def test_a_service_has_a_name_and_a_table_once() -> None:
    service = Service("declared")
    first = Projection("things", tables=(_table(),))
    with pytest.raises(DeclarationError, match="handles no event"):
        service.projects(first)
    first.on(Opened)(_handler)
    assert service.projects(first) is first
    service.projects(first)
    for other in (Projection("things"), Projection("others", tables=(_table(),))):
        other.on(Opened)(_handler)
        with pytest.raises(DeclarationError, match="twice"):
            service.projects(other)


@pytest.mark.parametrize(
    "values",
    [
        {"version": 0},
        {"version": 1.5},
        {"version": 2**31},
        {"batch_limit": float("nan")},
        {"batch_limit": True},
        {"batch_limit": 0},
        {"partitions": 0},
        {"partitions": 2.0},
        {"parked_max": -1},
        {"parked_max": float("inf")},
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=next(iter(values))):
        Projection("declared", **values)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, 1e9])
@pytest.mark.parametrize("name", ["timeout_seconds", "refresh_seconds"])
def test_times_of_views_that_cannot_be_meant_are_refused(name: str, value: float) -> None:
    times: dict[str, Any] = {name: value}
    with pytest.raises(DeclarationError, match="times of materialized view"):
        MaterializedView("declared", "SELECT 1 AS one", key=("one",), **times)
