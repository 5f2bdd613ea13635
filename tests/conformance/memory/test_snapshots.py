from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.snapshots import SnapshotStoreConformance


class TestSnapshotStoreOnMemory(OnMemory, SnapshotStoreConformance):
    pass
