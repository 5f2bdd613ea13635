"""A service whose engine lacks a port that it needs does not start, and says which, who needs it, and who has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import RunningService, Service, Transaction, event
from freehold.database import Database
from freehold.deadletters.store import DEAD_LETTERS
from freehold.eventstore.store import EVENTS
from freehold.inbox.store import INBOX
from freehold.outbox.store import OUTBOX
from freehold.ports import MissingPort, Port, Stores, provide
from freehold.projection import Projection, ProjectionContext
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.reconcile import Dataset
from freehold.runtime.adapters import open_stores


@event("needs.happened", version=1, key="name")
@dataclass(frozen=True, slots=True)
class NeedsHappened:
    name: str


def _without(*ports: Port[Any]) -> Stores:
    """An engine that has all that memory has, but for these ports."""
    whole = open_stores(f"memory://{uuid4().hex}")
    return Stores(
        "toy", whole.database, [provide(port, partial(_looked_up, whole, port)) for port in whole if port not in ports]
    )


def _looked_up(stores: Stores, port: Port[Any], _: Database) -> Any:
    return stores[port]


def _handling() -> Service:
    service = Service("trial")

    @service.handles(NeedsHappened)
    async def happened(event: NeedsHappened, tx: Transaction) -> None:
        return

    return service


def test_a_view_on_an_engine_without_views_is_refused_with_the_engines_that_have_them() -> None:
    service = Service("trial")
    service.views(MaterializedView("ones", "SELECT 1 AS one", key=("one",)))
    with pytest.raises(MissingPort) as refused:
        RunningService(service, settings_for("trial", database="memory://needs"), broker=memory_broker())
    told = str(refused.value)
    assert "service 'trial': materialized view needs the port 'views' (materialized views)" in told
    assert "which memory does not have" in told
    assert refused.value.hint == "engines that have 'views': MariaDB, PostgreSQL, SQLite; needed by ones"


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(MissingPort) as refused:
        RunningService(
            _handling(), settings_for("trial"), broker=memory_broker(), stores=_without(INBOX, DEAD_LETTERS, OUTBOX)
        )
    told = str(refused.value)
    for pattern, port in (("outbox", "outbox"), ("inbox", "inbox"), ("inbox", "deadletters")):
        assert f"{pattern} needs the port '{port}'" in told


async def test_a_service_starts_on_an_engine_without_what_it_does_not_use() -> None:
    bare = _without(*[port for port in open_stores("memory://all") if port.name not in _BARE])
    async with RunningService(Service("trial"), settings_for("trial"), broker=memory_broker(), stores=bare) as running:
        assert (await running.health()).ok
        assert (await running.readiness()).ready


_BARE = {"outbox", "sent", "logs", "leases", "schedule"}


def test_a_port_that_is_not_there_is_named_when_it_is_looked_up() -> None:
    stores = _without(VIEWS, EVENTS)
    assert stores.get(EVENTS) is None
    assert EVENTS not in stores
    with pytest.raises(MissingPort, match=r"toy does not have the port 'events' \(event streams\)"):
        stores[EVENTS]


@pytest.mark.parametrize("declared", ["copy", "offer"])
def test_datasets_on_an_engine_without_tables_are_refused(declared: str) -> None:
    service = Service("trial")
    if declared == "copy":
        service.replicates(Dataset("crm.people", "person", ("name",)), table="person")
    else:
        service.publishes_dataset(Dataset("trial.people", "person", ("name",)), table="person")
    with pytest.raises(MissingPort, match=r"needs the port 'datasets' \(rows that are compared\)") as refused:
        RunningService(service, settings_for("trial", database="memory://needs"), broker=memory_broker())
    assert refused.value.hint.startswith("engines that have 'datasets': MariaDB, PostgreSQL, SQLite; needed by ")


@pytest.mark.parametrize("tables", [True, False])
def test_a_projection_with_tables_on_an_engine_without_them_is_refused(tables: bool) -> None:
    """One without tables, which calls something or keeps its read model elsewhere, needs none."""
    table = sa.Table("happening", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True))
    service, projection = Service("trial"), Projection("happenings", tables=(table,) if tables else ())

    @projection.on(NeedsHappened)
    async def happened(event: NeedsHappened, write: ProjectionContext) -> None:
        return

    service.projects(projection)
    make = partial(RunningService, service, settings_for("trial", database="memory://needs"), broker=memory_broker())
    if not tables:
        make()
        return
    with pytest.raises(MissingPort, match="projection with tables needs the port 'read_models'") as refused:
        make()
    assert refused.value.hint == "engines that have 'read_models': MariaDB, PostgreSQL, SQLite; needed by happenings"
