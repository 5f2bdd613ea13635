"""A source behind an API: what is asked wrongly is refused, and what answers wrongly is told, not believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import ConfigurationError, Migration, RunningService, Service, Unavailable
from freehold.consistency.token import ConsistencyToken
from freehold.errors import DeclarationError
from freehold.http.app import create_app
from freehold.outbox.store import OUTBOX
from freehold.reconcile import Dataset
from freehold.reconcile.operations import make_reconciler
from freehold.reconcile.peer import PEER_HEADER, HttpSource, peer_proof
from freehold.transaction import current_token

PEOPLE = Dataset("crm.people", "person", ("name", "rank"))
SECRET = "for-tests-only"
TABLE = "CREATE TABLE person (person TEXT PRIMARY KEY, name TEXT, rank BIGINT, weight REAL)"


@asynccontextmanager
async def crm(folder: Path) -> AsyncIterator[tuple[RunningService, httpx.AsyncClient]]:
    service = Service("crm", migrations=[Migration("001", {"": [TABLE]})])
    service.publishes_dataset(PEOPLE, table="person")
    settings = settings_for("crm", database=f"sqlite:///{folder}/crm.db", token_secret=SECRET)
    async with RunningService(service, settings, broker=memory_broker(), roles=()) as running:
        async with running.transaction() as tx:
            for number in range(5):
                await tx.sql.execute("INSERT INTO person VALUES ($1, 'Ada', $2, 1.5)", (f"p{number}", number))
        app, proof = create_app(running), {PEER_HEADER: peer_proof(SECRET)}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t", headers=proof) as client,
        ):
            yield running, client


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 10**9},
        {"keys": [f"p{number}" for number in range(10_001)]},
        {"strange": 1},
    ],
)
@pytest.mark.parametrize("what", ["digest", "keys", "rows"])
async def test_a_query_that_makes_no_sense_is_refused(tmp_path: Path, what: str, query: dict[str, Any]) -> None:
    """Nothing is cut off in silence either: rows that are left out would be taken for rows that are not there."""
    async with crm(tmp_path) as (_, client):
        fields = {"key": "person", "fields": ["name", "rank"]}
        answer = await client.post(f"/freehold/datasets/crm.people/{what}", json=fields | query)
        assert answer.status_code == 400
        good = await client.post(f"/freehold/datasets/crm.people/{what}", json=fields | {"limit": 2, "keys": ["p1"]})
        assert good.status_code == 200


@pytest.mark.parametrize("proof", ["", "0" * 64, peer_proof("another secret"), "\u00e9"])
async def test_who_does_not_know_the_secret_learns_nothing(tmp_path: Path, proof: str) -> None:
    async with crm(tmp_path) as (_, client):
        for name in ("crm.people", "crm.none"):
            headers = [(PEER_HEADER.encode(), proof.encode("latin-1"))]
            answer = await client.post(f"/freehold/datasets/{name}/rows", json={}, headers=headers)
            assert answer.status_code == 403


@pytest.mark.parametrize(
    "mine", [Dataset("crm.people", "person", ("rank", "name")), Dataset("crm.people", "id", ("name", "rank"))]
)
async def test_a_dataset_of_other_fields_is_not_compared(tmp_path: Path, mine: Dataset) -> None:
    """Two releases that do not agree on the fields would find drift everywhere, and repair names with ranks."""
    async with crm(tmp_path) as (running, client):
        async with served(client) as url:
            with pytest.raises(ConfigurationError, match="other fields"):
                await HttpSource(mine, url, SECRET).digest("", None, 10)
            assert (await HttpSource(PEOPLE, url, SECRET).digest("", None, 10)).count == 5
        desk = Service("desk")
        desk.replicates(mine, table="person")
        with pytest.raises(ConfigurationError, match="other fields"):
            make_reconciler(
                "desk",
                running.stores,
                desk.replicas["crm.people"],
                running.source(PEOPLE),
                running.context.clock,
                repair_for=None,
            )


async def test_a_type_that_engines_give_back_differently_is_refused(tmp_path: Path) -> None:
    async with crm(tmp_path) as (running, _):
        heavy = Dataset("crm.people", "person", ("weight",))
        running.service.published_datasets["crm.people"] = type(running.service.published_datasets["crm.people"])(
            heavy, "person"
        )
        with pytest.raises(DeclarationError, match=r"'weight'.*float"):
            await running.source(heavy).digest("", None, 10)


async def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    async with crm(tmp_path) as (running, _):
        numbered = Dataset("crm.numbers", "number", ("name",))
        table = running.service.publishes_dataset(numbered, table="numbered")
        async with running.transaction() as tx:
            await tx.sql.execute("CREATE TABLE numbered (number INTEGER PRIMARY KEY, name TEXT)")
        assert (await running.source(table.dataset).digest("", None, 10)).count == 0
        async with running.transaction() as tx:
            await tx.sql.execute("INSERT INTO numbered VALUES (1, 'one')")
        with pytest.raises(DeclarationError, match="not texts"):
            await running.source(table.dataset).digest("", None, 10)


async def test_a_fence_is_of_the_source_alone(tmp_path: Path) -> None:
    """What the caller has seen of other services is nothing that the replica's service has to come to."""
    async with crm(tmp_path) as (running, _):
        seen = current_token.set(ConsistencyToken({"elsewhere/3": 9, "crm": 4}))
        try:
            token = await running.source(PEOPLE).publish_barrier()
        finally:
            current_token.reset(seen)
        assert {lane.partition("/")[0] for lane in token.positions} == {"crm"}
        assert "crm" not in token.positions
        assert len(token.positions) == running.stores[OUTBOX].partitions


async def test_a_redirect_is_not_followed() -> None:
    """The proof would go along to wherever it leads."""
    heads: list[bytes] = []
    async with answering(heads, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other}/x\r\nContent-Length: 0\r\n\r\n".encode()
        async with answering([], moved) as url:
            with pytest.raises(Unavailable, match="302"):
                await HttpSource(PEOPLE, url, SECRET).publish_barrier()
    assert heads == []


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"token":"a;b"}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        b"",
    ],
)
async def test_what_is_no_answer_is_told_as_such(answer: bytes) -> None:
    async with answering([], answer) as url:
        with pytest.raises(Unavailable):
            await HttpSource(PEOPLE, url, SECRET).publish_barrier()


@asynccontextmanager
async def answering(heads: list[bytes], answer: bytes) -> AsyncIterator[str]:
    """A server on a real socket that says the same to whatever comes."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def served(client: httpx.AsyncClient) -> AsyncIterator[str]:
    """What a client is given, on a real socket."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(lengths[0].partition(b":")[2]))
        answer = await client.post(head.split()[1].decode(), content=body)
        writer.write(f"HTTP/1.1 {answer.status_code} X\r\nContent-Length: {len(answer.content)}\r\n\r\n".encode())
        writer.write(answer.content)
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
