"""A read with a token is never stale, however slow handlers and projections are; without one it is, now and then."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.integration.consistency.chain import Chain, chain

TRIES = int(os.environ.get("FREEHOLD_TEST_TOKEN_TRIES", "20"))
SLOW_SECONDS = 0.01
NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
async def on_files(tmp_path: Path) -> AsyncIterator[Chain]:
    databases = {name: f"sqlite:///{tmp_path}/{name}.db" for name in NAMES}
    async with chain(databases, f"embedded:///{tmp_path}/broker.db?synchronous=normal", "t", SLOW_SECONDS) as made:
        yield made


@pytest.fixture
def databases(postgres_url: str) -> Iterator[Mapping[str, str]]:
    """One each; those that are made here are dropped here."""
    base, _, own = postgres_url.rpartition("/")
    urls = {"gamma": postgres_url, **{name: f"{base}/{own}_{name}" for name in NAMES[:2]}}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in NAMES[:2]:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"{own}_{name}")))
        yield urls
        for name in NAMES[:2]:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(f"{own}_{name}")))


@pytest.fixture
async def on_servers(databases: Mapping[str, str], nats_url: str, nats_prefix: str) -> AsyncIterator[Chain]:
    async with chain(databases, nats_url, nats_prefix, SLOW_SECONDS) as made:
        yield made


async def test_read_after_write_on_files(on_files: Chain) -> None:
    await _reads_after_writes(on_files)


@pytest.mark.servers
async def test_read_after_write_on_servers(on_servers: Chain) -> None:
    await _reads_after_writes(on_servers)


async def _reads_after_writes(chain: Chain) -> None:
    early = 0
    for number in range(1, TRIES + 1):
        key = f"k{number % 7}"
        seen = await chain.write("alpha", key, 2 * number)
        early += (await chain.read("notes", key))[0] != 2 * number
        assert await chain.read("handled", key, seen) == (2 * number, "fresh")
        assert await chain.read("notes", key, seen) == (2 * number, "fresh")
        # What beta answers has seen what alpha did: its token is waited for in the lanes of both.
        both = await chain.write("beta", key, 2 * number + 1, seen)
        early += (await chain.read("notes", key))[0] != 2 * number + 1
        assert await chain.read("notes", key, both) == (2 * number + 1, "fresh")
        assert await chain.read("handled", f"{key}-beside", both) == (2 * number + 1, "fresh")
    assert early, "nothing was slow enough for this test to prove anything"


async def test_what_does_not_come_is_said(on_files: Chain) -> None:
    gamma = on_files.services["gamma"]
    await gamma.pause("projections")
    token = await on_files.write("alpha", "k", 5)
    answer = await on_files.clients["gamma"].get("/required/k", headers={"freehold-consistency": token})
    assert answer.status_code == 503
    assert answer.json()["freshness"].startswith("stalled; positions=")
    assert answer.headers["freehold-freshness"].endswith("; of=notes")
    await gamma.resume("projections")
    assert await on_files.read("notes", "k", token) == (5, "fresh")


async def test_a_made_up_token_is_refused_and_none_waits_for_nothing(on_files: Chain) -> None:
    client = on_files.clients["gamma"]
    for token in ("x", "1.YT0x.AAAAAAAAAAAAAAAAAAAAAA"):
        answer = await client.get("/notes/k", headers={"freehold-consistency": token})
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
    answer = await client.get("/notes/k")
    assert answer.status_code == 200
    assert "freehold-freshness" not in answer.headers
    assert "freehold-consistency" not in answer.headers


async def test_an_answer_that_is_given_again_brings_its_token_again(on_files: Chain) -> None:
    client = on_files.clients["alpha"]
    first = await client.post("/k/7", headers={"idempotency-key": "once"})
    again = await client.post("/k/7", headers={"idempotency-key": "once"})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["freehold-consistency"] == first.headers["freehold-consistency"]
