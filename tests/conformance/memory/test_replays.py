from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.replays import ReplayStoreConformance


class TestReplayStoreOnMemory(OnMemory, ReplayStoreConformance):
    pass
