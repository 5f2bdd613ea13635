from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.progress import ProgressStoreConformance


class TestProgressStoreOnMemory(OnMemory, ProgressStoreConformance):
    pass
