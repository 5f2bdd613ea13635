from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.checkpoints import CheckpointStoreConformance


class TestCheckpointStoreOnMemory(OnMemory, CheckpointStoreConformance):
    pass
