"""Replicas compared and repaired between two running services, on real engines, while events are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import uvicorn

from freehold import Dataset, Migration, Service, Settings, Transaction, event
from freehold.audit.store import AUDIT
from freehold.consistency import ConsistencyToken
from freehold.errors import ConfigurationError, DeclarationError
from freehold.http.app import create_app
from freehold.reconcile import Drift, DriftKind
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.peer import HttpSource
from freehold.reconcile.side import TableReader
from freehold.reconcile.store import RECONCILIATIONS
from freehold.runtime import RunningService, Runtime

PEOPLE = Dataset("crm.people", key="person", fields=("name", "rank"))
SECRET = "for-tests-only"
_UPSERT = (
    "INSERT INTO {} (person, name, rank) VALUES ($1, $2, $3)"
    " ON CONFLICT (person) DO UPDATE SET name = excluded.name, rank = excluded.rank"
)


@event("crm.person-changed", key="person")
class PersonChanged:
    person: str
    name: str | None
    rank: int


def declare() -> tuple[Service, Service, asyncio.Event]:
    table = "CREATE TABLE {} (person TEXT PRIMARY KEY, name TEXT, rank BIGINT NOT NULL)"
    crm = Service("crm", migrations=[Migration("001", {"": [table.format("person")]})])
    desk = Service("desk", migrations=[Migration("001", {"": [table.format("known")]})])
    crm.publishes_dataset(PEOPLE, table="person")
    desk.replicates(PEOPLE, table="known")
    open_gate = asyncio.Event()
    open_gate.set()

    @desk.handles(PersonChanged)
    async def keep(changed: PersonChanged, tx: Transaction) -> None:
        await open_gate.wait()
        await tx.sql.execute(_UPSERT.format("known"), (changed.person, changed.name, changed.rank))

    return crm, desk, open_gate


@asynccontextmanager
async def running(databases: dict[str, str], broker: str) -> AsyncIterator[tuple[Runtime, asyncio.Event]]:
    crm, desk, gate = declare()
    prefix = {"FREEHOLD_BROKER_PREFIX": f"t{uuid4().hex[:12]}"}
    settings = {
        name: Settings.load(name, environ=prefix, database=url, broker=broker, token_secret=SECRET, poll_seconds=0.05)
        for name, url in databases.items()
    }
    async with Runtime(crm, desk, settings=settings) as runtime:
        yield runtime, gate


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Runtime, asyncio.Event]]:
    if request.param == "embedded":
        databases = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("crm", "desk")}
        broker = f"embedded:///{tmp_path}/broker.db"
    else:
        # Different engines on the two sides: a range of keys means the same rows all the same.
        databases = {"crm": request.getfixturevalue("postgres_url"), "desk": f"sqlite:///{tmp_path}/desk.db"}
        broker = request.getfixturevalue("nats_url")
    async with running(databases, broker) as made:
        yield made


async def change(crm: RunningService, people: dict[str, int], *, publish: bool = True) -> None:
    async with crm.transaction() as tx:
        for person, rank in people.items():
            name = None if rank % 5 == 0 else f"name of {person}"
            await tx.sql.execute(_UPSERT.format("person"), (person, name, rank))
            if publish:
                tx.publish(PersonChanged(person, name, rank))


async def by_hand(desk: RunningService, statement: str) -> None:
    async with desk.transaction() as tx:
        await tx.sql.execute(statement)


async def test_drift_is_found_told_and_repaired(both: tuple[Runtime, asyncio.Event]) -> None:
    runtime, _ = both
    crm, desk = runtime["crm"], runtime["desk"]
    keys = [f"{letter}{number}" for number in range(40) for letter in ("a", "A", "é", "_", "\U0001f600")]
    await change(crm, {key: number for number, key in enumerate(keys)})
    first = await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))
    assert (first.compared, first.drift, first.inconclusive) == (len(keys), [], [])
    await by_hand(desk, "DELETE FROM known WHERE person = 'A3'")
    await by_hand(desk, "UPDATE known SET rank = -1, name = NULL WHERE person = 'é7'")
    await by_hand(desk, "INSERT INTO known VALUES ('zz', 'nobody', 0)")
    await change(crm, {"silent": 1}, publish=False)
    told = await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))
    wrong = {
        Drift("A3", DriftKind.MISSING),
        Drift("é7", DriftKind.DIFFERENT, ("name", "rank")),
        Drift("zz", DriftKind.EXTRA),
        Drift("silent", DriftKind.MISSING),
    }
    assert set(told.drift) == wrong
    assert told.repaired == []
    mended = await desk.reconcile(PEOPLE, source=crm.source(PEOPLE), repair="a test")
    assert set(mended.drift) == wrong
    assert set(mended.repaired) == {each.key for each in wrong}
    assert (await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))).drift == []
    (entry,) = await desk.stores[AUDIT].find(PEOPLE.name, 10)
    assert (entry.actor, entry.action) == ("desk", "reconcile.repair")
    assert entry.reason == f"a test ({len(wrong)} rows repaired)"
    last = await desk.stores[RECONCILIATIONS].last(PEOPLE.name)
    assert last is not None
    assert (last.compared, last.drifted) == (len(keys) + 1, 0)


async def test_what_is_under_way_is_no_drift(both: tuple[Runtime, asyncio.Event]) -> None:
    """The copy's handlers stand still while it is compared, and go on when the comparison waits for them."""
    runtime, gate = both
    crm, desk = runtime["crm"], runtime["desk"]
    await change(crm, {f"p{number}": 1 for number in range(30)})
    await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))
    gate.clear()
    await change(crm, {f"p{number}": 2 for number in range(30)})

    class Opening(TableReader):
        async def publish_barrier(self) -> ConsistencyToken:
            token = await source.publish_barrier()
            gate.set()
            return token

    source = crm.source(PEOPLE)
    watched = Opening(crm.stores[DATASETS], crm.service.published_datasets[PEOPLE.name])
    found = await desk.reconcile(PEOPLE, source=watched, repair="a test")
    assert found.in_flight == 30
    assert (found.drift, found.repaired, found.inconclusive) == ([], [], [])


async def test_a_repair_does_not_undo_what_came_meanwhile(both: tuple[Runtime, asyncio.Event]) -> None:
    """A row that changes after it was found wrong is newer, and stays."""
    runtime, _ = both
    crm, desk = runtime["crm"], runtime["desk"]
    await change(crm, {"p": 1, "q": 1})
    await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))
    await by_hand(desk, "UPDATE known SET rank = -1")
    found = await desk.reconcile(PEOPLE, source=crm.source(PEOPLE))
    assert len(found.drift) == 2
    await change(crm, {"p": 2})
    mended = await desk.reconcile(PEOPLE, source=crm.source(PEOPLE), repair="a test")
    async with desk.transaction() as tx:
        rows = [tuple(row) for row in await tx.sql.fetch("SELECT person, rank FROM known ORDER BY person")]
    assert rows == [("p", 2), ("q", 1)]
    assert mended.agrees


@pytest.mark.servers
async def test_a_source_behind_its_api(tmp_path: Path, postgres_url: str) -> None:
    """Over a socket, with the proof of a shared secret, and not without it."""
    databases = {"crm": postgres_url, "desk": f"sqlite:///{tmp_path}/desk.db"}
    async with running(databases, f"embedded:///{tmp_path}/broker.db") as (runtime, _):
        await change(runtime["crm"], {f"p{number}": number for number in range(50)})
        async with served(runtime["crm"]) as url:
            good = HttpSource(PEOPLE, url, SECRET)
            await runtime["desk"].reconcile(PEOPLE, source=good)
            await by_hand(runtime["desk"], "DELETE FROM known WHERE rank < 3")
            found = await runtime["desk"].reconcile(PEOPLE, source=good, repair="a test")
            assert sorted(found.repaired) == ["p0", "p1", "p2"]
            with pytest.raises(ConfigurationError, match="peer"):
                await runtime["desk"].reconcile(PEOPLE, source=HttpSource(PEOPLE, url, "wrong"))
            other = Dataset("crm.others", "person", ("name",))
            with pytest.raises(ConfigurationError, match="is not published"):
                await HttpSource(other, url, SECRET).digest("", None, 10)


@asynccontextmanager
async def served(service: RunningService) -> AsyncIterator[str]:
    app = create_app(service)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def test_only_the_owner_offers_and_only_others_copy() -> None:
    with pytest.raises(DeclarationError, match="belongs"):
        Service("desk").publishes_dataset(PEOPLE, table="person")
    with pytest.raises(DeclarationError, match="own"):
        Service("crm").replicates(PEOPLE, table="known")
