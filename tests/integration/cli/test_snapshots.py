"""`freehold snapshots` on real databases: what is kept, and throwing a kind of it away."""

from __future__ import annotations

import asyncio

from tests.integration.cli.work import Project
from tests.unit.cli.typing_in import Typed

from freehold import Settings
from freehold.aggregate.store import SNAPSHOTS, Snapshot
from freehold.runtime.adapters import open_stores

WHY = ("--reason", "nobody declares it any more")


def keep(project: Project, kind: str, count: int) -> None:
    async def save() -> None:
        settings = Settings.load("till", environ={}, file=project.file)
        stores = open_stores(settings.database)
        await stores.database.open()
        try:
            async with stores.database.begin() as db_tx:
                for number in range(count):
                    await stores[SNAPSHOTS].save(db_tx, Snapshot(f"{kind}-{number}", kind, 100, 1, "f", b"12345"))
        finally:
            await stores.database.close()

    asyncio.run(save())


def test_a_kind_is_counted_and_thrown_away(typed: Typed, project: Project) -> None:
    """In more than one batch; another kind stays, and the audit table says who and why."""
    keep(project, "cart", 1001)
    keep(project, "order", 2)
    listed = typed("snapshots", "list", "--json").document["snapshots"]
    found = {(each["service"], each["kind"], each["count"], each["size_bytes"]) for each in listed}
    assert found == {("till", "cart", 1001, 5005), ("till", "order", 2, 10)}
    done = typed("snapshots", "discard", "--kind", "cart", *WHY, "--yes", "--json")
    assert (done.code, done.document["discarded"]) == (0, {"till": 1001})
    listed = typed("snapshots", "list", "--json").document["snapshots"]
    assert [(each["kind"], each["count"]) for each in listed] == [("order", 2)]
    (entry,) = typed("audit", "--json").document["actions"]
    assert (entry["action"], entry["subject"], entry["reason"]) == ("snapshots.discard", "cart", WHY[1])


def test_what_is_not_there_is_said_so(typed: Typed, project: Project) -> None:
    """And leaves no trace in the audit table."""
    assert "there are none" in typed("snapshots", "list").out
    nothing = typed("snapshots", "discard", "--kind", "cart", *WHY, "--yes")
    assert (nothing.code, nothing.err.strip()) == (1, "no snapshots of kind 'cart'")
    assert typed("audit", "--json").document["actions"] == []


def test_it_is_not_done_unasked(typed: Typed, project: Project) -> None:
    keep(project, "cart", 1)
    assert typed("snapshots", "discard", "--kind", "cart", *WHY).code == 2
    assert typed("snapshots", "discard", "--kind", "cart", "--yes").code == 2
    assert "cart" in typed("snapshots", "list").out
