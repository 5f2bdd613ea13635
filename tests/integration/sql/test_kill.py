"""SIGKILL between the steps of a transaction: nothing of what was not committed, all of what was."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from freehold.conformance.outbox import outgoing, take_partitions
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores

_STAGE = """
import asyncio, sys
from freehold.runtime.adapters import open_stores
from freehold.conformance.outbox import outgoing
from freehold.outbox.store import OUTBOX
async def main():
    stores = open_stores(sys.argv[1])
    await stores.database.open()
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k", b"killed")])
        if sys.argv[2] == "staged":
            print("ready", flush=True)
            await asyncio.Event().wait()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize(("point", "expected"), [("staged", []), ("committed", [b"killed"])])
@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def test_kill(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, point: str, expected: list[bytes]
) -> None:
    url = f"sqlite:///{tmp_path}/a.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    leases = await take_partitions(stores)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STAGE, url, point, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 90) == b"ready\n"
    process.kill()
    await process.wait()
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k", b"next")])
    rows = (await stores[OUTBOX].fetch(leases, 10)).rows
    assert [row.message.document for row in rows] == [*expected, b"next"]
    await stores.database.close()
