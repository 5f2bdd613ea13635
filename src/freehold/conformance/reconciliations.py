"""The suite of the results of reconciliations. Needs pytest and pytest-asyncio."""

from __future__ import annotations

from freehold.conformance.harness import StoresHarness
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord

__all__ = ["ReconciliationStoreConformance"]


def record(harness: StoresHarness, dataset: str, *, drifted: int = 0, error: str = "") -> ReconciliationRecord:
    """A result with the present time."""
    return ReconciliationRecord(dataset, harness.clock.now(), 1.5, 1000, drifted, 0, 0, error)


class ReconciliationStoreConformance:
    """What every store of results must do. Bind it with a `harness` fixture."""

    async def test_the_last_result_of_a_dataset_is_found(self, harness: StoresHarness) -> None:
        """Unchanged, by any instance; a failure counts as a result."""
        store = harness.first[RECONCILIATIONS]
        assert await store.last("users.customers") is None
        results = [record(harness, "users.customers", drifted=3), record(harness, "catalog.products")]
        results.append(record(harness, "users.customers", error="Unavailable"))
        for each in results:
            await store.add(each)
        other = (await harness.instance())[RECONCILIATIONS]
        assert await other.last("users.customers") == results[2]
        assert await other.last("catalog.products") == results[1]
        assert list(await other.recent(10)) == results[::-1]
        assert list(await other.recent(1)) == results[2:]

    async def test_prune_leaves_each_dataset_its_newest(self, harness: StoresHarness) -> None:
        """However old it is: it shows when the replica was compared last."""
        store = harness.first[RECONCILIATIONS]
        for dataset in ("a.a", "a.a", "b.b"):
            await store.add(record(harness, dataset))
        harness.clock.advance(100)
        await store.add(record(harness, "b.b", drifted=1))
        assert await store.prune(50, 10) == 2
        assert [(each.dataset, each.drifted) for each in await store.recent(10)] == [("b.b", 1), ("a.a", 0)]
        assert await store.prune(50, 10) == 0
